"""Two views of each of some images of a dataset, the same at every call: what a checkpoint without labels is scored on.

The draws of a view follow from its image's position alone, neither from the run's seed nor from any global state. So scores of all
checkpoints, and of runs with one augmentation, are of the same views, and a resumed run has the scores of one that was not cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pretrain.config import AugmentConfig, DataConfig
from pretrain.decode import decoded_crops
from pretrain.order import Footage
from pretrain.reader import ShardReader
from pretrain.shard_files import UnreadableError

__all__ = ["FixedViews", "spread_samples"]

_VIEWS = 7  # keeps these draws apart from others with the same position
_BATCH = 16
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedViews:
    """Calling it gives the views, in batches; it can be pickled."""

    dataset_dir: Path
    augment: AugmentConfig
    """of the run: its two global crops are the views"""
    image_size: int
    """side of a view in pixels"""
    num_images: int = 512
    """images, fewer in a smaller dataset; unreadable ones are passed over"""
    num_threads: int = 2
    """threads that decode and crop"""
    shards: str = ""
    """folder or URI of the tars, if not `dataset_dir`; of a store the images alone are read"""

    def __call__(self) -> Iterator[NDArray[np.uint8]]:
        """Batches of (2, images, side, side, 3) RGB: both views of an image have the same place.

        Raises:
            ValueError: fewer than two images can be read.
        """
        cv2.setNumThreads(1)  # OpenCV's own threads would not live in loader processes that are forked later, which would wait for them
        reader = ShardReader(self.dataset_dir, DataConfig(shards=self.shards))
        order = spread_samples(len(reader), reader.footage)
        num_found = 0
        with ThreadPoolExecutor(self.num_threads) as pool:
            for start in range(0, len(order), _BATCH):
                found = [(sample, data) for sample in order[start : start + _BATCH].tolist() if (data := _read(reader, sample)) is not None]
                crops = [views for views in pool.map(self._views, *zip(*found, strict=True)) if views is not None] if found else []
                crops = crops[: self.num_images - num_found]
                num_found += len(crops)
                if crops:
                    yield np.stack(crops, axis=1)
                if num_found == self.num_images:
                    break
        if num_found < _FEWEST:
            raise ValueError(f"{self.dataset_dir} has {num_found} readable images; matching views needs {_FEWEST} or more")

    def _views(self, sample: int, data: bytes) -> NDArray[np.uint8] | None:
        found = decoded_crops(
            data, replace(self.augment, num_local=0), global_size=self.image_size, rng=np.random.default_rng([_VIEWS, sample])
        )
        return None if found is None else found[0]


def spread_samples(num_samples: int, footage: Footage | None) -> NDArray[np.int64]:
    """All samples in a fixed order of chance that takes one of each video in turn.

    Frames of one video look alike, and one that another frame resembles more than its own second view is no fault of the features.
    """
    order = np.random.default_rng(_VIEWS).permutation(num_samples)
    if footage is None:
        return order
    videos = np.empty(num_samples, np.int64)
    videos[footage.samples] = np.repeat(np.arange(len(footage.first) - 1), np.diff(footage.first))
    drawn = videos[order]
    grouped = np.argsort(drawn, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(drawn[grouped])) + 1])
    turns = np.empty(num_samples, np.int64)
    turns[grouped] = np.arange(num_samples) - np.repeat(starts, np.diff(np.concatenate([starts, [num_samples]])))
    return order[np.argsort(turns, kind="stable")]


def _read(reader: ShardReader, sample: int) -> bytes | None:
    try:
        return reader.read(sample)
    except UnreadableError:
        return None
