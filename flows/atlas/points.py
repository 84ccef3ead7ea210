"""What the map shows of a lake: a bounded sample of its embedded frames, where each lies, and by what they can be coloured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.embedding import vectors_of
from flows.atlas.beside import Beside, encoder_name, read_beside, share_in_common
from flows.atlas.heads import check_head, newest_heads
from flows.atlas.layout import LayoutName, lay_out
from flows.atlas.members import members_of
from flows.atlas.most_points import check_most
from flows.atlas.nearest import NEAR
from flows.atlas.prediction import Prediction, predicted
from warehouse import queries
from warehouse.dataset_queries import dataset_named
from warehouse.lake import Lake, LakeError

__all__ = ["Atlas", "Picture", "num_removals", "read_atlas"]

_COLOURS = ("cluster", "large cluster", "video", "site", "device", "imaging mode", "dataset")

_MOST_UNASKED = 100_000
"""points of which heads that nobody named tell classes: k-NN alone compares each with all that it was trained on"""

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
        SEMI JOIN (SELECT pack_id FROM embeddings WHERE encoder_id = $4) b ON b.pack_id = c.pack_id
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
    encoder: str
    """its name, without the folder that it lies in"""
    dataset: str | None
    """whose clusters and fates are shown"""
    beside: Beside | None = None
    """the same points by a second encoder, if one was named"""
    members: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """whether each of the latest datasets holds each point, (N,)"""
    predictions: tuple[Prediction, ...] = ()
    """what stored heads say of the points, each a colour too"""
    has_sql: bool = False
    """whether the page may ask the lake"""

    def with_sql(self) -> Atlas:
        """The same, on a page that is served beside the lake."""
        return replace(self, has_sql=True)


def read_atlas(
    lake: Lake,
    *,
    encoder: str | None,
    dataset: str | None,
    most: int,
    layout: LayoutName,
    beside: str | None = None,
    head: str | None = None,
) -> Atlas:
    """Sample, look up and lay out.

    Args:
        lake: whose frames are shown.
        encoder: whose embeddings; the latest if none is named.
        dataset: which one clusters and fates are of; the latest if none is named.
        most: points at most; the same ones each time.
        layout: how vectors become positions.
        beside: a second encoder, beside whose neighbours the first one's are shown; frames that both embedded are shown.
        head: a score, by its id or a unique start of it, whose head says what each point shows; of each task the newest that fits unless
            one is named, and none where torch is not installed or there are over 100,000 points.

    Raises:
        LakeError: nothing is embedded, there is no such dataset or score, or no frame may be shown.
        ValueError: `most` is not from 3 to MAX_POINTS, or the head does not fit the encoder.
    """
    check_most(most)
    encoder_id = queries.encoder_named(lake, encoder)
    name = dataset_named(lake, dataset).name if dataset else _latest_dataset(lake)
    beside_id = queries.encoder_named(lake, beside) if beside else encoder_id
    if beside and beside_id == encoder_id:
        raise ValueError(f"got {beside!r} beside itself, expected another encoder; name one that embedded this lake too, or embed with it")
    named = check_head(lake, head, encoder_id) if head else None
    rows = lake.query(_FRAMES, [encoder_id, name, most, beside_id])
    if len(rows) < 3:
        raise LakeError(
            f"the lake in {lake.root} has {len(rows)} frames to show, expected 3 or more; run `endoforge embed`, or audit flagged videos"
        )
    frame_ids = rows["frame_id"].combine_chunks()
    vectors = vectors_of(frame_ids, queries.embedding_parts(lake, encoder_id), lake.root)
    positions, said = lay_out(vectors, layout)
    other = read_beside(lake, beside_id, frame_ids, layout) if beside else None
    predictions, left_out = ((predicted(named, vectors),), ()) if named else _unasked(lake, encoder_id, vectors)
    flagged = lake.rows("SELECT count(DISTINCT video_id) AS n FROM flagged_videos WHERE NOT is_audited")[0]["n"]
    label = encoder_name(lake, encoder_id)
    num_all = rows["num_all"][0].as_py()
    notes = [
        f"{len(rows):,} of {num_all:,} kept and embedded frames",
        said,
        f"encoder {label}",
        f"dataset {name}" if name else "no dataset yet",
    ]
    if other is not None:
        share = share_in_common(vectors, other.vectors)
        notes.append(f"beside it encoder {other.name}; of the {NEAR} nearest of a frame the two have {share:.0%} in common")
    notes += [f"{each.colour} by {each.head.said}; from the stored vectors, so `predict` may differ" for each in predictions]
    notes += left_out
    if flagged:
        notes.append(f"{flagged:,} flagged videos are left out until a person has looked at them")
    steps = lake.rows("SELECT concat_ws(': ', step, reason) AS step, num_frames FROM funnel")
    return Atlas(
        frame_ids=tuple(frame_ids.to_pylist()),
        seconds=tuple(microseconds / 1e6 for microseconds in rows["pts_us"].to_pylist()),
        pictures=_pictures(lake.root, rows),
        positions=positions,
        colours=_colours(rows) | {each.colour: each.words for each in predictions if len(set(each.words)) > 1},
        num_all=num_all,
        layout=said,
        notes=tuple(notes),
        funnel=tuple((row["step"], row["num_frames"]) for row in steps),
        vectors=vectors,
        video_ids=(video_ids := tuple(rows["video_id"].to_pylist())),
        videos=tuple(sorted(set(video_ids))),
        encoder_id=encoder_id,
        encoder=label,
        dataset=name,
        beside=other,
        members=members_of(lake, frame_ids),
        predictions=predictions,
    )


def num_removals(lake: Lake) -> int:
    """How many frames audits and classifiers have removed so far; what was read before must not be shown after it has changed."""
    return int(lake.rows("SELECT count(*) AS n FROM removals")[0]["n"])


def _pictures(root: Path, rows: pa.Table) -> tuple[Picture, ...]:
    paths = {path: root / path for path in rows["pack_path"].unique().to_pylist()}
    places = zip(rows["pack_path"].to_pylist(), rows["byte_offset"].to_pylist(), rows["byte_size"].to_pylist(), strict=True)
    return tuple(Picture(pack_path=paths[path], byte_offset=offset, byte_size=size) for path, offset, size in places)


def _colours(rows: pa.Table) -> dict[str, tuple[str, ...]]:
    columns = ("cluster", "large_cluster", "video_id", "site", "device", "imaging_mode", "fate")
    said = {name: tuple(_word(value) for value in rows[column].to_pylist()) for name, column in zip(_COLOURS, columns, strict=True)}
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


def _unasked(lake: Lake, encoder_id: str, vectors: npt.NDArray[np.float32]) -> tuple[tuple[Prediction, ...], tuple[str, ...]]:
    """What the newest head of each task says, and a sentence for each that cannot be asked: a map opens without them."""
    if find_spec("torch") is None:
        return (), ()
    found, left_out = [], []
    heads = newest_heads(lake, encoder_id)
    if len(vectors) > _MOST_UNASKED:
        return (), (f"above {_MOST_UNASKED:,} points no head is asked that nobody named; {len(heads)} would fit",) if heads else ()
    for head in heads:
        try:
            found.append(predicted(head, vectors))
        except (OSError, ValueError, KeyError) as error:
            left_out.append(f"{head.said} is left out: {error}")
    return tuple(found), tuple(left_out)
