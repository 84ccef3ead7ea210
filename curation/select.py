"""Select the frames of a dataset from the clustered ones: Parquet in, the `selections` table's rows out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curation.curate_config import SampleConfig
from curation.draws import draws_of_ids
from curation.leaf_vectors import vectors_by_leaf
from curation.sample import balanced_sample
from curation.weight_spec import parse_weights
from curation.weights import frame_weights
from warehouse.identified import write_with_id
from warehouse.records import EmbeddingPart, Selection

__all__ = ["SELECT_VERSION", "select_frames"]

SELECT_VERSION = 2
"""raise when the same settings would give another selection"""

_COLUMNS = ("frame_id", "cluster_path", "distance")
_METADATA = ("video_id", "patient_id", "site", "device", "procedure")


def select_frames(
    clustered: Path,
    tree_id: str,
    parts: Sequence[EmbeddingPart] = (),
    *,
    lake_root: Path,
    out: Path,
    size: int,
    config: SampleConfig,
    seed: int,
) -> tuple[Selection, dict[str, int]]:
    """Sample a balanced selection from the clustered frames and write the `selections` table's rows to `out`, ranked.

    Args:
        clustered: Parquet with frame_id, pack_id, cluster_path (finest level first), distance (to the finest centroid), and of the
            frame's video video_id, patient_id, site, device and procedure (null where unknown).
        tree_id: the clustering they come from.
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
    table = pq.read_table(clustered, columns=[*_COLUMNS, *_METADATA], read_dictionary=list(_METADATA))
    paths = table["cluster_path"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    metadata = {name.removesuffix("_id"): table[name] for name in _METADATA}
    caps = {kind: cap for kind in ("patient", "video", "site", "device") if (cap := getattr(config, f"max_per_{kind}")) is not None}
    patients = (
        {"patient": pc.coalesce(*(table[name].cast(pa.string()) for name in ("patient_id", "video_id")))} if "patient" in caps else {}
    )
    groups = {kind: _codes({**metadata, **patients}[kind]) for kind in caps}
    weights = parse_weights(config.weights)
    with ExitStack() as stack:
        vectors = None
        if config.within_leaf == "diverse":
            vectors = stack.enter_context(vectors_by_leaf(clustered, paths[:, 0], parts, lake_root=lake_root, near=out.parent))
        indices, num_allowed = balanced_sample(
            paths,
            size,
            within_leaf=config.within_leaf,
            draws=draws_of_ids(table["frame_id"], seed=seed),
            seed=seed,
            distance=table["distance"].to_numpy(),
            vectors=vectors,
            weights=frame_weights(weights, paths, metadata) if weights else None,
            caps=[(groups[kind], cap) for kind, cap in caps.items()],
        )
    rows = {
        # Arrow's plain strings end at 2 GiB together, which is 28 million frame ids
        "frame_id": table["frame_id"].cast(pa.large_string()).combine_chunks().take(pa.array(indices)).cast(pa.string()),
        "rank": pa.array(np.arange(len(indices)), pa.int64()),
        "cluster_id": pa.array(paths[indices, 0], pa.int32()),
    }
    selection_id = write_with_id(out, "selections", "selection_id", rows)
    unknown = {f"num_unknown_{kind}": int((groups[kind] < 0).sum()) for kind in caps}
    return Selection(selection_id=selection_id, tree_id=tree_id, num_frames=len(indices), seed=seed), {
        "num_allowed": num_allowed,
        **unknown,
    }


def _codes(values: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A number for each distinct value, -1 for null."""
    encoded = values.cast(pa.large_string()).combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(), np.int64)
