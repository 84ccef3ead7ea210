"""Two views of each of some clips of a dataset, the same at every call: what a video checkpoint without labels is scored on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from pretrain.config import DataConfig, PretrainConfig
from pretrain.reader import ShardReader
from pretrain.shard_files import UnreadableError
from pretrain.video.batches import clip_views
from pretrain.video.decode import ClipError
from pretrain.views import spread_samples

__all__ = ["FixedClipViews"]

_VIEWS = 12  # keeps these draws apart from others with the same position
_BATCH = 8
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedClipViews:
    """Calling it gives the views, in batches; it can be pickled."""

    dataset_dir: Path
    config: PretrainConfig
    """of the run: its two global views are what is compared"""
    num_clips: int = 128
    """clips, fewer in a smaller dataset; unreadable ones are passed over"""

    def __call__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of both views, each (clips, 3, frames, side, side) float32, normalised; views of a clip have the same place.

        Raises:
            ValueError: fewer than two clips can be read.
        """
        cv2.setNumThreads(1)
        video = self.config.video
        assert video is not None
        only_global = replace(self.config, augment=replace(self.config.augment, num_local=0), video=replace(video, local_frames=()))
        reader = ShardReader(self.dataset_dir, DataConfig(shards=self.config.data.shards))
        found: list[list[np.ndarray]] = []
        num_found = 0
        for sample in spread_samples(len(reader), reader.footage).tolist():
            try:
                colours, frames = np.random.default_rng([_VIEWS, sample, 1]), np.random.default_rng([_VIEWS, sample])
                found.append(clip_views(reader.read(sample), only_global, rng=frames, colour_rng=colours))
            except (UnreadableError, ClipError):
                continue
            num_found += 1
            if len(found) == _BATCH or num_found == self.num_clips:
                yield self._batch(found)
                found = []
            if num_found == self.num_clips:
                break
        if found:
            yield self._batch(found)
        if num_found < _FEWEST:
            raise ValueError(f"{self.dataset_dir} has {num_found} readable clips; matching views needs {_FEWEST} or more")

    def _batch(self, found: list[list[np.ndarray]]) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(each).view(1, 3, 1, 1, 1) for each in (self.config.augment.mean, self.config.augment.std))
        first, second = (torch.from_numpy(np.stack(views)).permute(0, 4, 1, 2, 3) for views in zip(*found, strict=True))
        return (first - mean) / std, (second - mean) / std
