"""What the map shows of a lake: a bounded sample of its embedded frames, where each lies, and by what they can be coloured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.embedding import vectors_of
from flows.atlas.layout import LayoutName, lay_out
from warehouse import queries
from warehouse.dataset_queries import dataset_named
from warehouse.lake import Lake, LakeError

__all__ = ["MAX_POINTS", "Atlas", "Picture", "as_script", "num_removals", "read_atlas"]

MAX_POINTS = 100_000
_COLOURS = ("cluster", "large cluster", "video", "site", "device", "imaging mode", "dataset")

# Only frames that are kept now (candidates), and none of a video that privacy filters flagged and no person has looked at since. Of two
# trees' levels the finest and the coarsest are shown. Names of files stay out: they may name a patient.
_FRAMES = """
    WITH made AS (FROM datasets WHERE name = $2 LIMIT 1),
    tree AS (SELECT c.frame_id, c.level, c.cluster_id FROM clusters c JOIN made ON made.tree_id = c.tree_id),
    fine AS (FROM tree WHERE level = 1),
    coarse AS (FROM tree WHERE level = (SELECT max(level) FROM tree)),
    chosen AS (SELECT s.frame_id FROM selections s JOIN made ON made.selection_id = s.selection_id),
    compared AS (SELECT d.frame_id, d.is_duplicate, d.kind FROM dedup d JOIN made ON made.dedup_id = d.dedup_id),
    flagged AS (SELECT video_id FROM flagged_videos WHERE NOT is_audited),
    shown AS (
        SELECT c.frame_id, c.video_id, c.pts_us, c.pack_id, c.pack_path, c.byte_offset, c.byte_size FROM candidates c
        SEMI JOIN (SELECT pack_id FROM embeddings WHERE encoder_id = $1) e ON e.pack_id = c.pack_id
        ANTI JOIN flagged f ON f.video_id = c.video_id)
    SELECT s.*, count(*) OVER () AS num_all, i.site, i.device, f.imaging_mode, k.cluster_id AS cluster, g.cluster_id AS large_cluster,
           CASE WHEN h.frame_id IS NOT NULL THEN 'in the dataset' WHEN d.is_duplicate THEN d.kind || ' duplicate'
                WHEN d.frame_id IS NOT NULL THEN 'not chosen' ELSE 'not in its candidates' END AS fate
    FROM shown s JOIN frames f ON f.frame_id = s.frame_id LEFT JOIN video_info i ON i.video_id = s.video_id
    LEFT JOIN fine k ON k.frame_id = s.frame_id LEFT JOIN coarse g ON g.frame_id = s.frame_id
    LEFT JOIN chosen h ON h.frame_id = s.frame_id LEFT JOIN compared d ON d.frame_id = s.frame_id
    ORDER BY hash(s.frame_id), s.frame_id LIMIT $3"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Where the JPEG of a point lies."""

    pack_path: Path
    byte_offset: int
    byte_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """A map, ready to be served or written."""

    frame_ids: tuple[str, ...]
    seconds: tuple[float, ...]
    pictures: tuple[Picture, ...]
    positions: npt.NDArray[np.float32]
    """(N, 2), each axis 0 to 1"""
    colours: dict[str, tuple[str, ...]]
    """a word for each point, by what the map can be coloured by; what is the same for all points is left out"""
    num_all: int
    """frames that could have been shown"""
    layout: str
    """how the positions were found, in words"""
    notes: tuple[str, ...]
    funnel: tuple[tuple[str, int], ...]
    """current frames by step and reason"""
    vectors: npt.NDArray[np.float32]
    """(N, dim), unit vectors of the points"""
    video_ids: tuple[str, ...]
    """video of each point"""
    videos: tuple[str, ...]
    """all of them, each once, by which a page numbers them"""
    encoder_id: str
    dataset: str | None
    """whose clusters and fates are shown"""
    has_sql: bool = False
    """whether the page may ask the lake"""

    def with_sql(self) -> Atlas:
        """The same, on a page that is served beside the lake."""
        return replace(self, has_sql=True)


def read_atlas(lake: Lake, *, encoder: str | None, dataset: str | None, most: int, layout: LayoutName) -> Atlas:
    """Sample, look up and lay out.

    Args:
        lake: whose frames are shown.
        encoder: whose embeddings; the latest if none is named.
        dataset: which one clusters and fates are of; the latest if none is named.
        most: points at most; the same ones each time.
        layout: how vectors become positions.

    Raises:
        LakeError: nothing is embedded, there is no such dataset, or no frame may be shown.
        ValueError: `most` is not from 3 to MAX_POINTS.
    """
    if not 3 <= most <= MAX_POINTS:
        raise ValueError(f"got {most} as the most points, expected 3 to {MAX_POINTS:,}; a page cannot draw more smoothly")
    encoder_id = queries.encoder_named(lake, encoder)
    name = dataset_named(lake, dataset).name if dataset else _latest_dataset(lake)
    rows = lake.rows(_FRAMES, [encoder_id, name, most])
    if len(rows) < 3:
        raise LakeError(
            f"the lake in {lake.root} has {len(rows)} frames to show, expected 3 or more; run `endoforge embed`, or audit flagged videos"
        )
    vectors = vectors_of(pa.array([row["frame_id"] for row in rows], pa.string()), queries.embedding_parts(lake, encoder_id), lake.root)
    positions, said = lay_out(vectors, layout)
    flagged = lake.rows("SELECT count(DISTINCT video_id) AS n FROM flagged_videos WHERE NOT is_audited")[0]["n"]
    notes = [
        f"{len(rows):,} of {rows[0]['num_all']:,} kept and embedded frames",
        said,
        f"encoder {queries.encoder_label(lake, encoder_id)}",
        f"dataset {name}" if name else "no dataset yet",
    ]
    if flagged:
        notes.append(f"{flagged:,} flagged videos are left out until a person has looked at them")
    steps = lake.rows("SELECT concat_ws(': ', step, reason) AS step, num_frames FROM funnel")
    return Atlas(
        frame_ids=tuple(row["frame_id"] for row in rows),
        seconds=tuple(row["pts_us"] / 1e6 for row in rows),
        pictures=tuple(
            Picture(pack_path=lake.root / row["pack_path"], byte_offset=row["byte_offset"], byte_size=row["byte_size"]) for row in rows
        ),
        positions=positions,
        colours=_colours(rows),
        num_all=rows[0]["num_all"],
        layout=said,
        notes=tuple(notes),
        funnel=tuple((row["step"], row["num_frames"]) for row in steps),
        vectors=vectors,
        video_ids=tuple(row["video_id"] for row in rows),
        videos=tuple(sorted({row["video_id"] for row in rows})),
        encoder_id=encoder_id,
        dataset=name,
    )


def num_removals(lake: Lake) -> int:
    """How many frames audits and classifiers have removed so far; what was read before must not be shown after it has changed."""
    return int(lake.rows("SELECT count(*) AS n FROM removals")[0]["n"])


def as_script(atlas: Atlas) -> bytes:
    """The points as a script that a page loads, also from a folder: `const ATLAS = {...}`.

    Positions are whole numbers up to 65535; a colouring is its words, the commonest first, and a number into them for each point.
    """
    whole = np.rint(atlas.positions * 65535).astype(int)
    told: dict[str, Any] = {
        "x": whole[:, 0].tolist(),
        "y": whole[:, 1].tolist(),
        "id": atlas.frame_ids,
        "second": [round(second, 2) for second in atlas.seconds],
        "colours": {name: _coded(words) for name, words in atlas.colours.items()},
        "notes": atlas.notes,
        "funnel": atlas.funnel,
        "sql": atlas.has_sql,
    }
    return b"const ATLAS = " + json.dumps(told, separators=(",", ":")).encode() + b";\n"


def _coded(words: Sequence[str]) -> dict[str, Any]:
    names, places, counts = np.unique(np.asarray(words), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {"names": names[order].tolist(), "counts": counts[order].tolist(), "codes": np.argsort(order)[places].tolist()}


def _colours(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    columns = ("cluster", "large_cluster", "video_id", "site", "device", "imaging_mode", "fate")
    said = {name: tuple(_word(row[column]) for row in rows) for name, column in zip(_COLOURS, columns, strict=True)}
    said["video"] = tuple(word[:12] for word in said["video"])
    return {name: words for name, words in said.items() if len(set(words)) > 1}


def _word(value: object) -> str:
    return "unknown" if value is None else str(value)


def _latest_dataset(lake: Lake) -> str | None:
    rows = lake.rows(
        """SELECT d.name FROM datasets d JOIN runs r ON r.run_id = d.run_id
           WHERE r.status = 'complete' AND d.kind IS DISTINCT FROM 'clips' ORDER BY r.ended_at DESC, d.name LIMIT 1"""
    )
    return rows[0]["name"] if rows else None
