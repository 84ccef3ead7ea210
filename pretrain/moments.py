"""Video and time of a dataset's samples, which say which frames show nearly the same picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Moments", "read_moments"]


class Moments:
    """Video and time of every sample, 8 bytes a sample."""

    def __init__(self, videos: NDArray[np.int32], times_ms: NDArray[np.int32]) -> None:
        self._videos, self._times_ms = videos, times_ms

    def of(self, samples: NDArray[np.int64]) -> Tensor:
        """(samples, 2) int64: number of the video, negative if unknown, and milliseconds from its start."""
        return torch.from_numpy(np.stack([self._videos[samples], self._times_ms[samples]], axis=1).astype(np.int64))


def read_moments(dataset_dir: Path) -> Moments:
    """Read `samples.parquet` in parts: videos are numbered, and a frame's id ends in its microseconds.

    Samples without such an id, or of a dataset without these columns, get an unknown video.
    """
    file = pq.ParquetFile(dataset_dir / "samples.parquet")
    videos = np.full(file.metadata.num_rows, -1, np.int32)
    times_ms = np.zeros(len(videos), np.int32)
    if {"video_id", "frame_id"} <= set(file.schema_arrow.names):
        numbers: dict[str, int] = {}
        for part in file.iter_batches(columns=["position", "video_id", "frame_id"]):
            positions = part["position"].to_numpy()
            videos[positions], times_ms[positions] = _numbered(part["video_id"], numbers), _times_ms(part["frame_id"])
        videos[times_ms < 0] = -1
    return Moments(videos, times_ms)


def _numbered(names: pa.Array, numbers: dict[str, int]) -> NDArray[np.int32]:
    """Each name's number, counted in order of first appearance; `numbers` grows."""
    encoded = pc.fill_null(names, "").dictionary_encode()
    of_part = [numbers.setdefault(name, len(numbers)) if name else -1 for name in encoded.dictionary.to_pylist()]
    of_rows: NDArray[np.int32] = np.array(of_part, np.int32)[encoded.indices.to_numpy()]
    return of_rows


def _times_ms(frame_ids: pa.Array) -> NDArray[np.int32]:
    """Milliseconds of the video at each frame, -1 if its id does not say."""
    found = pc.struct_field(pc.extract_regex(frame_ids, r"-(?P<us>\d{1,12})$"), "us")
    times: NDArray[np.int32] = pc.fill_null(pc.divide(pc.cast(found, pa.int64()), 1000), -1).to_numpy().astype(np.int32)
    return times
