"""Many frame ids in little memory: what a frame's own end is, and once what the frames of a video begin with.

An id has 37 characters, so a hundred million of them take 3.7 GB as text; in order, they take 13 bytes each here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["FrameIds", "read_frame_ids"]

_OWN_LENGTH = 13
"""characters at the end of an id that are kept for each frame: a hyphen and the time in microseconds. Any ids of ASCII are kept right,
however they are made; those of which the rest is shared by many are kept small"""
_READ_ROWS = 1 << 18


@dataclass(frozen=True, slots=True)
class FrameIds:
    """(n,) ids, all different, in ascending order."""

    ends: npt.NDArray[np.bytes_]
    """(n,) of each id"""
    beginnings: pa.StringArray
    """one for each stretch of ids that begin alike"""
    first: npt.NDArray[np.int64]
    """row of each stretch's first id"""

    def __len__(self) -> int:
        return len(self.ends)

    def at(self, rows: npt.NDArray[Any]) -> pa.StringArray:
        """The ids at some rows; null for -1."""
        stretch = np.maximum(np.searchsorted(self.first, rows, side="right") - 1, 0)
        ends = pa.array(self.ends[rows], mask=rows < 0).cast(pa.string())
        return pc.binary_join_element_wise(self.beginnings.take(pa.array(stretch)), ends, "")


def read_frame_ids(frames: Path) -> FrameIds:
    """The column frame_id of a Parquet file whose rows are in its order.

    Raises:
        ValueError: an id is out of order, or there twice.
    """
    file = pq.ParquetFile(frames)
    ends = np.empty(file.metadata.num_rows, f"S{_OWN_LENGTH}")
    beginnings, first = [], []
    start, before = 0, None
    for batch in file.iter_batches(batch_size=_READ_ROWS, columns=["frame_id"]):
        ids = batch["frame_id"]
        if not (pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py() and (before is None or before < ids[0].as_py())):
            raise ValueError(f"the frame ids of {frames} are not all different and in ascending order")
        before = ids[-1].as_py()
        shared = pc.utf8_slice_codeunits(ids, 0, -_OWN_LENGTH)
        ends[start : start + len(ids)] = pc.utf8_slice_codeunits(ids, -_OWN_LENGTH).to_numpy(zero_copy_only=False).astype(ends.dtype)
        stretches = pc.run_end_encode(shared)
        beginnings.append(stretches.values)
        first.append(start + np.concatenate([[0], stretches.run_ends.to_numpy()[:-1]]))
        start += len(ids)
    if not beginnings:
        return FrameIds(ends, pa.array([], pa.string()), np.empty(0, np.int64))
    return FrameIds(ends, pa.concat_arrays(beginnings), np.concatenate(first))
