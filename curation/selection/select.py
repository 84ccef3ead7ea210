"""Select the frames of a dataset from the clustered ones: Parquet in, the `selections` table's rows out.

Of a hundred million frames the numbers alone fit in memory. Their ids and what is known of their videos stay in the file: they are read a
batch at a time, for each frame's draw, for the caps and weights there are, and at the end for the chosen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curation.selection.config import SampleConfig
from curation.selection.draws import draws_of_ids
from curation.selection.leaf_vectors import vectors_by_leaf
from curation.selection.sample import balanced_sample
from curation.selection.weight_spec import parse_weights
from curation.selection.weights import frame_weights
from warehouse.identified import write_batches_with_id
from warehouse.records import Artifact, EmbeddingPart

__all__ = ["SELECT_VERSION", "select_frames"]

SELECT_VERSION = 2
"""raise when the same settings would give another selection"""

_CAPPED = ("patient", "video", "site", "device")
_ROWS = 1 << 18

Ints = npt.NDArray[np.int64]


def select_frames(
    clustered: Path,
    parts: Sequence[EmbeddingPart] = (),
    *,
    lake_root: Path,
    out: Path,
    size: int,
    config: SampleConfig,
    seed: int,
) -> tuple[Artifact, dict[str, int]]:
    """Sample a balanced selection from the clustered frames and write the `selections` table's rows to `out`, ranked.

    Args:
        clustered: Parquet with frame_id, pack_id, cluster_path (finest level first), distance (to the finest centroid), and of the
            frame's video video_id, patient_id, site, device and procedure (null where unknown); of what has several patients or sites, the
            further ones in patient_id_2, site_2 and so on.
        parts: embeddings of every clustered frame; needed for within_leaf diverse.
        lake_root: what the parts' paths are relative to.
        out: Parquet file to write.
        size: images wanted.
        config: rule within a leaf, caps and weights.
        seed: of the draws.

    Returns:
        The selection, and num_allowed: how many frames the caps leave; and for each capped kind num_unknown_KIND: frames that its cap
        does not count, because what it caps is not known of them.

    Raises:
        ValueError: a weight names what no frame has.
    """
    num_rows = pq.read_metadata(clustered).num_rows
    paths, distance, draws = _numbers(clustered, num_rows, seed=seed, with_distance=config.within_leaf != "random")
    caps = {kind: cap for kind in _CAPPED if (cap := getattr(config, f"max_per_{kind}")) is not None}
    groups = {kind: _patients(clustered) if kind == "patient" else _codes(clustered, kind) for kind in caps}
    weights = parse_weights(config.weights)
    weighed = {weight.kind for weight in weights} - {"cluster"}
    with ExitStack() as stack:
        vectors = None
        if config.within_leaf == "diverse":
            vectors = stack.enter_context(vectors_by_leaf(clustered, paths[:, 0], parts, lake_root=lake_root, near=out.parent))
        indices, num_allowed = balanced_sample(
            paths,
            size,
            within_leaf=config.within_leaf,
            draws=draws,
            seed=seed,
            distance=distance,
            vectors=vectors,
            weights=frame_weights(weights, paths, {kind: _metadata(clustered, kind) for kind in weighed}) if weights else None,
            caps=[(groups[kind], cap) for kind, cap in caps.items()],
        )
    selection_id = write_batches_with_id(out, "selections", "selection_id", _rows(clustered, indices, paths[:, 0]))
    unknown = {f"num_unknown_{kind}": int(_is_unknown(groups[kind]).sum()) for kind in caps}
    selection = Artifact(artifact_id=selection_id, kind="selection", uri="tables/main/selections", num_rows=len(indices))
    return selection, {"num_allowed": num_allowed, **unknown}


def _numbers(
    clustered: Path, num_rows: int, *, seed: int, with_distance: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32] | None, npt.NDArray[np.uint64]]:
    """Paths (n, levels), distances (n,) and draws (n,)."""
    paths = np.empty((num_rows, 0), np.int32)
    distance = np.empty(num_rows, np.float32) if with_distance else None
    draws = np.empty(num_rows, np.uint64)
    for rows, batch in _batches(clustered, ["frame_id", "cluster_path", *(["distance"] if with_distance else [])]):
        found = batch["cluster_path"].flatten().to_numpy().reshape(len(batch), -1)
        if rows.start == 0:
            paths = np.empty((num_rows, found.shape[1]), np.int32)
        paths[rows] = found
        draws[rows] = draws_of_ids(batch["frame_id"], seed=seed)
        if distance is not None:
            distance[rows] = batch["distance"].to_numpy()
    return paths, distance, draws


def _codes(clustered: Path, kind: str) -> npt.NDArray[np.int32]:
    """A number for each distinct value of a kind of metadata, -1 for unknown: (n,), or (n, m) if some frames have up to m values."""
    columns = _metadata(clustered, kind)
    num_rows = len(columns[0])
    together = pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type).unify_dictionaries()
    codes = np.full(num_rows * len(columns), -1, np.int32)
    start = 0
    for chunk in together.chunks:
        codes[start : start + len(chunk)] = chunk.indices.fill_null(-1).to_numpy()
        start += len(chunk)
    return codes if len(columns) == 1 else codes.reshape(len(columns), num_rows).T


def _patients(clustered: Path) -> npt.NDArray[np.int32]:
    """The same of patients; a video whose patient is unknown is of a patient of its own."""
    patients = _codes(clustered, "patient")
    first = patients if patients.ndim == 1 else patients[:, 0]
    alone = first < 0
    first[alone] = patients.max(initial=-1) + 1 + _codes(clustered, "video")[alone]
    return patients


def _metadata(clustered: Path, kind: str) -> list[pa.ChunkedArray]:
    """The columns of a kind as dictionaries: four bytes a frame each."""
    name = f"{kind}_id" if kind in ("patient", "video") else kind
    names = [found for found in pq.read_schema(clustered).names if re.fullmatch(rf"{name}(_\d+)?", found)]
    table = pq.read_table(clustered, columns=names, read_dictionary=names)
    return [table[found] for found in names]


def _is_unknown(groups: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """(n,) whether a frame has no group."""
    return groups < 0 if groups.ndim == 1 else groups.max(axis=1) < 0


def _rows(clustered: Path, indices: Ints, leaf: npt.NDArray[np.integer]) -> Iterator[dict[str, pa.Array]]:
    """The rows of the chosen frames, ranked in the order they were chosen in."""
    by_row = np.argsort(indices)
    ascending = indices[by_row]
    found = []
    for rows, batch in _batches(clustered, ["frame_id"]):
        first, last = np.searchsorted(ascending, (rows.start, rows.stop))
        # Arrow's plain strings end at 2 GiB together, which is 28 million frame ids
        found.append(batch["frame_id"].take(pa.array(ascending[first:last] - rows.start)).cast(pa.large_string()))
    ids = pa.chunked_array(found, pa.large_string()).combine_chunks()
    place = np.empty_like(by_row)
    place[by_row] = np.arange(len(by_row))
    for start in range(0, max(1, len(indices)), _ROWS):
        chosen = indices[start : start + _ROWS]
        yield {
            "frame_id": ids.take(pa.array(place[start : start + _ROWS])).cast(pa.string()),
            "rank": pa.array(np.arange(start, start + len(chosen)), pa.int64()),
            "cluster_id": pa.array(leaf[chosen], pa.int32()),
        }


def _batches(clustered: Path, columns: list[str]) -> Iterator[tuple[slice, Any]]:
    """Some rows of these columns at a time, and which rows they are."""
    start = 0
    for batch in pq.ParquetFile(clustered).iter_batches(batch_size=_ROWS, columns=columns):
        yield slice(start, start + len(batch)), batch
        start += len(batch)
