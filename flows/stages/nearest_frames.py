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


def nearest_frames(lake: Lake, jpegs: Sequence[bytes], *, number: int) -> tuple[list[tuple[ArchiveFrame, ...]], str]:
    """The kept frames that are most similar to each picture.

    Args:
        lake: whose embeddings are searched; the encoder is the one that embedded last.
        jpegs: pictures as ingest would store them.
        number: of frames for each.

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
    starts = []
    first = 0
    for part in parts:
        _, known = read_part(lake.root / part.path, part.dim)
        near = nearest_by_embedding(vectors, known.astype(np.float32), first_view=first, so_far=near)
        starts.append(first)
        first += len(known)
    ids = _ids(lake, parts, starts, sorted({int(view) for view in near.view.ravel() if view >= 0}))
    rows = _rows(lake, list(ids.values()))
    found = []
    for views, values in zip(near.view.tolist(), near.value.tolist(), strict=True):
        kept = [(rows[ids[view]], value) for view, value in zip(views, values, strict=True) if view >= 0 and ids[view] in rows]
        found.append(tuple(_frame(lake, row, value) for row, value in kept[:number]))
    return found, ""


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
