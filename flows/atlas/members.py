"""Which points of a map the latest datasets hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.lake import Lake

__all__ = ["MOST_DATASETS", "dataset_names", "members_of"]

MOST_DATASETS = 6
"""datasets that a map is filtered by, and of which an export has every pair; the latest ones"""


def dataset_names(lake: Lake) -> list[str]:
    """Datasets of images, the latest first."""
    rows = lake.rows(
        """SELECT d.name, max(r.ended_at) AS made FROM datasets d JOIN runs r ON r.run_id = d.run_id
           WHERE d.kind IS DISTINCT FROM 'clips' GROUP BY d.name ORDER BY made DESC, d.name"""
    )
    return [row["name"] for row in rows]


def members_of(lake: Lake, frame_ids: pa.Array) -> dict[str, npt.NDArray[np.bool_]]:
    """Of each of the latest datasets by name, whether it holds each point, (N,)."""
    found = {}
    for name in dataset_names(lake)[:MOST_DATASETS]:
        held = lake.query(
            "SELECT DISTINCT s.frame_id FROM shard_frames s JOIN datasets d ON d.dataset_id = s.dataset_id WHERE d.name = $1", [name]
        )
        found[name] = pc.is_in(frame_ids, value_set=held["frame_id"]).to_numpy(zero_copy_only=False)
    return found
