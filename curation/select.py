"""Select the frames of a dataset from the clustered ones: Parquet in, the `selections` table's rows out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.curate_config import SampleConfig
from curation.sample import balanced_sample
from warehouse.identified import write_with_id
from warehouse.records import Selection

__all__ = ["SELECT_VERSION", "select_frames"]

SELECT_VERSION = 1
"""raise when the same settings would give another selection"""


def select_frames(clustered: Path, tree_id: str, *, out: Path, size: int, config: SampleConfig, seed: int) -> Selection:
    """Sample a balanced selection from the clustered frames and write the `selections` table's rows to `out`.

    Args:
        clustered: Parquet with frame_id, video_id, cluster_path (finest level first) and distance (to the finest centroid).
        tree_id: the clustering they come from.
        out: Parquet file to write.
        size: images wanted.
        config: rule within a leaf, and caps.
        seed: of the draws.
    """
    table = pq.read_table(clustered)
    paths = np.stack(table["cluster_path"].to_numpy(zero_copy_only=False)).astype(np.int32)
    indices = balanced_sample(
        paths,
        min(size, len(paths)),
        within_leaf=config.within_leaf,
        distance=table["distance"].to_numpy(),
        seed=seed,
        groups=table["video_id"].to_numpy(zero_copy_only=False) if config.max_per_video else None,
        max_per_group=config.max_per_video,
    )
    rows = {
        "frame_id": table["frame_id"].combine_chunks().take(pa.array(indices)),
        "rank": pa.array(np.arange(len(indices)), pa.int64()),
        "cluster_id": pa.array(paths[indices, 0], pa.int32()),
    }
    selection_id = write_with_id(out, "selections", "selection_id", rows)
    return Selection(selection_id=selection_id, tree_id=tree_id, num_frames=len(indices), seed=seed)
