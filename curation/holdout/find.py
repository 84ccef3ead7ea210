"""Stage function: candidates to those that are copies of what is held out."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curation.holdout.config import HoldoutConfig
from curation.holdout.prepare import ViewsPart
from curation.holdout.search import Nearest, hash_bytes, in_turns, nearest_by_embedding, nearest_by_hash, nothing_near
from curation.holdout.verify_copy import CopyEvidence, Features, compare, features_of
from curation.holdout.views import views_of
from curation.packs import read_frame
from warehouse.store import content_id, read_json, write_json, write_parquet

__all__ = ["COPIES", "HOLDOUT_VERSION", "CopiesPart", "find_copies"]

HOLDOUT_VERSION = 3
"""raise when the same settings would give other matches"""

_NUM_VIEWS_NEAR = 24  # views of at most as many pictures; a sequence's neighbouring frames fill several places
_MOST_COMPARED = 10
_SURE = 0.85  # correlation; no better reference is looked for

COPIES = pa.schema(
    {
        "frame_id": pa.string(),
        "video_id": pa.string(),
        "match_kind": pa.string(),
        "reference_sha256": pa.string(),
        "reference": pa.string(),
        "hash_distance": pa.int32(),
        "similarity": pa.float32(),
        "correlation": pa.float32(),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesPart:
    """The copies among some candidates."""

    path: str
    num_candidates: int
    num_compared: int
    """candidates of which the picture was looked at"""
    num_copies: int


def find_copies(
    candidates: str, *, lake_root: str, work: str, views: Sequence[ViewsPart], min_similarity: float, config: HoldoutConfig
) -> CopiesPart:
    """Find the candidates that are copies of what is held out: near one of its views, and alike when laid over it.

    Args:
        candidates: folder of Parquet with frame_id, video_id, phash, pack_path, byte_offset, byte_size and embedding_path.
        lake_root: what these paths are relative to.
        work: the folder that holds the views; gets copies/<name of the candidates' folder>.parquet and, last, .json. What is there of
            the same candidates, views and settings is taken as it is.
        views: all of them.
        min_similarity: cosine from which pictures are compared.
        config: see there.

    Raises:
        FileNotFoundError: a pack or an embedding part is not where the lake says.
    """
    cv2.setNumThreads(1)
    table = pq.read_table(candidates, partitioning=None)
    asked = content_id([sorted(table["frame_id"].to_pylist()), list(views), min_similarity, asdict(config)])
    out = f"copies/{Path(candidates).name}.parquet"
    finished = (Path(work) / out).with_suffix(".json")
    if finished.exists() and (stored := read_json(finished))["asked"] == asked:
        return CopiesPart(**stored["part"])
    rows: list[dict[str, object]] = []
    num_compared = 0
    numbers = table["embedding_path"].combine_chunks().dictionary_encode()
    for code, part in enumerate(numbers.dictionary.to_pylist()):
        members = table.filter(pa.array(numbers.indices.to_numpy() == code)).to_pylist()
        hashes = hash_bytes(np.array([int(row["phash"] or "0", 16) for row in members], np.uint64))
        near, alike = _search(_vectors(Path(lake_root) / part, [row["frame_id"] for row in members]), hashes, Path(work), tuple(views))
        alike.view[[number for number, row in enumerate(members) if row["phash"] is None]] = -1  # without a hash nothing is alike
        for number, row in enumerate(members):
            wanted = _worth_comparing(near, alike, number, min_similarity, config)
            if wanted:
                num_compared += 1
                rows += _copies(row, wanted, Path(lake_root), Path(work), tuple(views), config)
    write_parquet(Path(work) / out, pa.Table.from_pylist(rows, COPIES))
    part = CopiesPart(path=out, num_candidates=table.num_rows, num_compared=num_compared, num_copies=len(rows))
    write_json(finished, {"asked": asked, "part": part})
    return part


def _search(
    vectors: npt.NDArray[np.float32], hashes: npt.NDArray[np.uint8], work: Path, views: tuple[ViewsPart, ...]
) -> tuple[Nearest, Nearest]:
    """The nearest views of all parts by embedding and by hash, part by part."""
    near, alike = nothing_near(len(vectors), _NUM_VIEWS_NEAR), nothing_near(len(vectors), _NUM_VIEWS_NEAR)
    first = 0
    for part in views:
        if part.num_views:
            embeddings, own_hashes, _ = _views(work / part.path)
            near = nearest_by_embedding(vectors, embeddings, first_view=first, so_far=near)
            alike = nearest_by_hash(hashes, own_hashes, first_view=first, so_far=alike)
        first += part.num_views
    return near, alike


def _worth_comparing(
    near: Nearest, alike: Nearest, row: int, min_similarity: float, config: HoldoutConfig
) -> dict[int, tuple[float, float]]:
    """Views to compare a candidate with, each with its cosine and its number of differing bits; NaN for what is not known."""
    found: dict[int, tuple[float, float]] = {}
    for view, bits in zip(alike.view[row].tolist(), (-alike.value[row]).tolist(), strict=True):
        if view >= 0 and bits <= config.holdout_hash_distance:
            found[view] = float("nan"), bits
    for view, cosine in zip(near.view[row].tolist(), near.value[row].tolist(), strict=True):
        if view >= 0 and (cosine >= min_similarity or view in found):
            found[view] = cosine, found.get(view, (0.0, float("nan")))[1]
    return found


def _copies(
    row: dict[str, object],
    wanted: dict[int, tuple[float, float]],
    lake_root: Path,
    work: Path,
    views: tuple[ViewsPart, ...],
    config: HoldoutConfig,
) -> list[dict[str, object]]:
    """The row of a candidate that is a copy; none of one that is not."""
    jpeg = read_frame(lake_root / str(row["pack_path"]), int(str(row["byte_offset"])), int(str(row["byte_size"])))
    candidate = features_of(np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)))
    pictures: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for view in sorted(wanted):
        place = _reference(work, views, view)
        pictures[place["picture"], place["flip"]].append(view)
    owner = {view: key for key, members in pictures.items() for view in members}
    by_embedding = sorted((view for view in wanted if wanted[view][0] == wanted[view][0]), key=lambda view: (-wanted[view][0], view))
    by_hash = sorted((view for view in wanted if wanted[view][1] == wanted[view][1]), key=lambda view: (wanted[view][1], view))
    best: tuple[CopyEvidence, int] | None = None
    for key in in_turns((owner[view] for view in by_embedding), (owner[view] for view in by_hash))[:_MOST_COMPARED]:
        place = _reference(work, views, pictures[key][0])
        evidence = compare(candidate, _reference_features(work / place["pack"], place["byte_offset"], place["byte_size"], place["flip"]))
        if best is None or evidence.correlation > best[0].correlation:
            best = evidence, pictures[key][0]
        if evidence.correlation >= _SURE:
            break
    if best is None or best[0].correlation < config.holdout_correlation:
        return []
    reference = _reference(work, views, best[1])
    own = [wanted[view] for key, members in pictures.items() if key[0] == reference["picture"] for view in members]
    cosines, bits = [cosine for cosine, _ in own if cosine == cosine], [distance for _, distance in own if distance == distance]
    return [
        {
            "frame_id": row["frame_id"],
            "video_id": row["video_id"],
            "match_kind": "perceptual" if bits else "embedding",
            "reference_sha256": reference["sha256"],
            "reference": reference["name"],
            "hash_distance": int(min(bits)) if bits else None,
            "similarity": max(cosines) if cosines else None,
            "correlation": best[0].correlation,
        }
    ]


def _vectors(part: Path, frame_ids: Sequence[str]) -> npt.NDArray[np.float32]:
    table = pq.read_table(part, columns=["frame_id", "embedding"])
    places = {frame_id: number for number, frame_id in enumerate(table["frame_id"].to_pylist())}
    values = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, -1)
    return np.ascontiguousarray(values[[places[frame_id] for frame_id in frame_ids]], np.float32)


@functools.lru_cache(maxsize=32)
def _views(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], list[dict[str, Any]]]:
    """Embeddings, hashes and the rest of a part's views."""
    table = pq.read_table(path)
    values = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, -1)
    hashes = hash_bytes(table["phash"].combine_chunks().to_numpy(zero_copy_only=False))
    return np.ascontiguousarray(values, np.float32), hashes, table.drop_columns(["embedding", "phash"]).to_pylist()


def _reference(work: Path, views: tuple[ViewsPart, ...], view: int) -> dict[str, Any]:
    """Picture, flip, place, content and name of the view of that number."""
    for part in views:
        if view < part.num_views:
            return _views(work / part.path)[2][view]
        view -= part.num_views
    raise IndexError(f"there is no view {view} beyond the last part")


@functools.lru_cache(maxsize=512)
def _reference_features(pack: Path, offset: int, size: int, flip: int | None) -> Features:
    rgb = np.asarray(cv2.imdecode(np.frombuffer(read_frame(pack, offset, size), np.uint8), cv2.IMREAD_COLOR_RGB))
    content = views_of(rgb)[0].rgb
    return features_of(content if flip is None else np.asarray(cv2.flip(content, flip)))
