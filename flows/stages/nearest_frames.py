"""The frames of the archive that are nearest to a picture, by the embeddings that the lake has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curation.embedding import EmbedConfig, batch_size_on, embed_images, load_encoder, read_part
from curation.holdout import nearest_by_embedding, nothing_near
from curation.packs import read_frame, thumbnail
from evaluation.report import ArchiveFrame
from warehouse import queries
from warehouse.lake import Lake, LakeError
from warehouse.records import EmbeddingPart

__all__ = ["nearest_frames"]

_SPARE = 4
"""times as many are looked for: of those that an audit or other thresholds have removed since, none is shown"""
_THUMBNAIL_PX = 144


def nearest_frames(lake: Lake, jpegs: Sequence[bytes], *, number: int, video_id: str) -> tuple[list[tuple[ArchiveFrame, ...]], str]:
    """The kept frames that are most similar to each picture, without those of its own video and those that the latest hold-out leaves out.

    Args:
        lake: whose embeddings are searched; the encoder is the one that embedded last.
        jpegs: pictures as ingest would store them.
        number: of frames for each.
        video_id: of the video that the pictures are of.

    Returns:
        The frames of each picture, the nearest first, and why there are none; the reason is empty where there are.
    """
    nothing: list[tuple[ArchiveFrame, ...]] = [() for _ in jpegs]
    try:
        encoder_id = queries.encoder_named(lake, None)
        parts = queries.embedding_parts(lake, encoder_id)
    except LakeError:
        return nothing, "nearest frames of the archive are left out: the lake has no embeddings; run `endoforge embed` to have them"
    config = EmbedConfig(encoder=queries.encoder_label(lake, encoder_id), device="cpu")
    encoder = load_encoder(config)
    if encoder.encoder_id != encoder_id:
        return nothing, f"nearest frames of the archive are left out: the lake was embedded by another {config.encoder!r} than is here"
    if not jpegs:
        return [], ""
    vectors = embed_images(iter(jpegs), encoder, batch_size=batch_size_on(encoder.device, config)).astype(np.float32)
    near = nothing_near(len(jpegs), _SPARE * number)
    own, held_out = _packs_of(lake, video_id), _held_out(lake)
    parts = tuple(part for part in parts if part.pack_id not in own)
    starts = []
    first = 0
    for part in parts:
        frame_ids, stored = read_part(lake.root / part.path, part.dim)
        known = stored.astype(np.float32)
        if hidden := held_out.get(part.pack_id):
            known[[frame_id in hidden for frame_id in frame_ids]] = 0.0  # like nothing; the rows that are shown leave them out anyway
        near = nearest_by_embedding(vectors, known, first_view=first, so_far=near)
        starts.append(first)
        first += len(known)
    ids = _ids(lake, parts, starts, sorted({int(view) for view in near.view.ravel() if view >= 0}))
    hidden_ids = set().union(*held_out.values())
    rows = _rows(lake, [frame_id for frame_id in ids.values() if frame_id not in hidden_ids])
    found = []
    for views, values in zip(near.view.tolist(), near.value.tolist(), strict=True):
        kept = [(rows[ids[view]], value) for view, value in zip(views, values, strict=True) if view >= 0 and ids[view] in rows]
        found.append(tuple(_frame(lake, row, value) for row, value in kept[:number]))
    return found, ""


def _packs_of(lake: Lake, video_id: str) -> set[str]:
    return {str(row["pack_id"]) for row in lake.rows("SELECT pack_id FROM packs WHERE video_id = $1", [video_id])}


def _held_out(lake: Lake) -> dict[str, set[str]]:
    """The candidates that the latest hold-out leaves out, by pack."""
    rows = lake.rows(
        """SELECT c.pack_id, list(c.frame_id) AS frame_ids FROM candidates c
           WHERE c.frame_id IN (SELECT frame_id FROM holdout WHERE holdout_id = (
               SELECT o.artifact_id FROM edges o JOIN runs r ON r.run_id = o.run_id
               JOIN artifacts a ON a.artifact_id = o.artifact_id AND a.kind = 'holdout'
               WHERE r.stage = 'holdout' AND r.status = 'complete' AND o.direction = 'output' ORDER BY r.ended_at DESC, r.run_id LIMIT 1))
           GROUP BY c.pack_id"""
    )
    return {str(row["pack_id"]): set(row["frame_ids"]) for row in rows}


def _ids(lake: Lake, parts: Sequence[EmbeddingPart], starts: Sequence[int], views: Sequence[int]) -> dict[int, str]:
    """Frame ids by number, which counts through the parts in their order."""
    found: dict[int, str] = {}
    of_part = np.searchsorted(starts, views, side="right") - 1
    for place in sorted(set(of_part.tolist())):
        frame_ids, _ = read_part(lake.root / parts[place].path, parts[place].dim)
        found |= {view: frame_ids[view - starts[place]] for view, part in zip(views, of_part, strict=True) if part == place}
    return found


def _rows(lake: Lake, frame_ids: list[str]) -> dict[str, dict[str, object]]:
    """Where the kept ones of some frames are."""
    rows = lake.rows(
        """SELECT frame_id, video_id, pts_us, pack_path, byte_offset, byte_size FROM candidates
           WHERE frame_id IN (SELECT unnest($1::VARCHAR[]))""",
        [frame_ids],
    )
    return {row["frame_id"]: row for row in rows}


def _frame(lake: Lake, row: dict[str, object], similarity: float) -> ArchiveFrame:
    jpeg = read_frame(lake.root / str(row["pack_path"]), int(str(row["byte_offset"])), int(str(row["byte_size"])))
    return ArchiveFrame(
        jpeg=thumbnail(jpeg, width=_THUMBNAIL_PX),
        video_id=str(row["video_id"]),
        time_s=int(str(row["pts_us"])) / 1e6,
        similarity=similarity,
    )
