"""Batches of clips: each clip is read, decoded once, and its views are cut; all draws follow from the seed and the place in the batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from pretrain.config import PretrainConfig, VideoConfig
from pretrain.data import derive_seed
from pretrain.dealing import Place, SampleBatches
from pretrain.masking import batch_masks
from pretrain.reader import ShardReader
from pretrain.shard_files import UnreadableError
from pretrain.video.decode import ClipError, clip_header, decoded_frames
from pretrain.video.drops import GroupDrops, draw_drops
from pretrain.video.views import Floats, cut_view, draw_views, frame_window, view_groups

__all__ = ["ClipBatch", "ClipBatches", "clip_views"]

_COLOURS, _DROPS, _TEACHER_DROPS, _MASKS = 8, 9, 10, 11  # keep draws apart that share seed, step and place


class ClipBatch(NamedTuple):
    """One worker's part of a step."""

    views: tuple[Tensor, ...]
    """of each run of views alike, (views, clips, frames, side, side, 3): uint8 where pixels are clamped, else float32, 1 for white"""
    drops: tuple[GroupDrops, ...] | None
    """of the student, by run; None drops nothing"""
    teacher_drops: tuple[GroupDrops, ...] | None
    """of the teacher's global views; None drops nothing"""
    masks: Tensor | None
    """(global views * clips, patches of a frame) bool, hidden in all frames of the view; None without iBOT"""
    unreadable_shards: Tensor
    """(unreadable clips,) int64, the shard of each clip that could not be read, for which another stands in"""
    moments: Tensor | None = None
    """(clips, 2) int64, video and time of each clip; None if the dataset does not say"""

    @property
    def num_unreadable(self) -> Tensor:
        """Clips for which another stands in."""
        return torch.tensor(len(self.unreadable_shards))


class ClipBatches(SampleBatches[ClipBatch, list[Floats]]):
    """One worker's batches of clips, indexed by step."""

    def __init__(self, reader: ShardReader, config: PretrainConfig, *, rank: int, world_size: int) -> None:
        """As `SampleBatches`; the configuration is of a video recipe."""
        super().__init__(reader, config, rank=rank, world_size=world_size)
        assert config.video is not None
        self.video: VideoConfig = config.video
        self.groups = view_groups(config)

    def __getitem__(self, step: int) -> ClipBatch:
        cv2.setNumThreads(1)  # processes are the parallelism here
        clips, shown, unreadable = [], [], []
        for sample, views, shard in self.samples(step):
            clips.append(views)
            shown.append(sample)
            unreadable += [] if shard is None else [shard]
        return ClipBatch(
            views=self._grouped(clips),
            drops=self._drops(step, self.groups, _DROPS),
            teacher_drops=self._drops(step, self.groups[:2], _TEACHER_DROPS) if self.video.teacher_drop_path else None,
            masks=self._masks(step) if self.config.loss.ibot_weight else None,
            unreadable_shards=torch.tensor(unreadable, dtype=torch.int64),
            moments=self.moments_of(shown),
        )

    def load(self, sample: int, place: Place) -> list[Floats] | None:
        """The views of a clip; None if it cannot be read, or has fewer frames than `min_frames`."""
        rng = np.random.default_rng((place.seed, place.epoch, place.sample))
        number, last = divmod(place.step, max(1, self.num_steps_an_epoch))
        turn = (last,) if self.video.draws == "repeated" else (number, last)
        colours = np.random.default_rng((place.seed, _COLOURS, place.slot, *turn))
        try:
            return clip_views(self.reader.read(sample), self.config, rng=rng, colour_rng=colours)
        except (UnreadableError, ClipError):
            return None

    def _grouped(self, clips: Sequence[Sequence[Floats]]) -> tuple[Tensor, ...]:
        grouped, first = [], 0
        for count, _, _ in self.groups:
            pixels = np.stack([np.stack(views[first : first + count]) for views in clips], axis=1)
            if self.video.clamp:
                pixels = np.rint(pixels * 255).astype(np.uint8)
            grouped.append(torch.from_numpy(pixels))
            first += count
        return tuple(grouped)

    def _drops(self, step: int, groups: Sequence[tuple[int, int, int]], kind: int) -> tuple[GroupDrops, ...] | None:
        model = self.config.model
        if not model.drop_path_rate:
            return None
        keys = [(self.config.train.seed, step, kind, slot) for slot in range(self.own.start, self.own.stop)]
        assert model.depth is not None
        return tuple(draw_drops(keys, groups, patch_size=model.patch_size, depth=model.depth, rate=model.drop_path_rate))

    def _masks(self, step: int) -> Tensor:
        """This worker's part of the masks of the whole batch."""
        config = self.config
        rng = random.Random(derive_seed(config.train.seed, step, _MASKS))
        masks = batch_masks(2 * config.train.batch_size, config.model.img_size // config.model.patch_size, config.mask, rng=rng)
        return torch.from_numpy(masks.reshape(2, config.train.batch_size, -1)[:, self.own].reshape(2 * self.num_images, -1))


def clip_views(data: bytes, config: PretrainConfig, *, rng: np.random.Generator, colour_rng: np.random.Generator) -> list[Floats]:
    """The views of a clip's bytes, globals first.

    Args:
        data: an MP4 as curation writes them.
        config: of the run.
        rng: source of window, frames and boxes.
        colour_rng: source of flips, jitter and grey.

    Raises:
        ClipError: it cannot be decoded, or has fewer frames than `min_frames`.
    """
    video = config.video
    assert video is not None
    header = clip_header(data)
    if header.num_frames < video.min_frames:
        raise ClipError(f"the clip has {header.num_frames} frames, fewer than video.min_frames {video.min_frames}")
    window = frame_window(header.num_frames, header.fps, video, rng=rng)
    draws = draw_views(len(window), (header.width, header.height), config, rng=rng, colour_rng=colour_rng)
    wanted = sorted({window[index] for draw in draws for index in draw.frames})
    frames = decoded_frames(data, wanted)
    shown = {index - window.start: pixels for index, pixels in frames.items()}
    return [cut_view(shown, draw, video) for draw in draws]
