"""Stochastic depth of clips: which time lines, frames and clips skip a branch of each block, drawn by the place in the global batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pretrain.video.model import BlockDrops

__all__ = ["GroupDrops", "block_rates", "draw_drops"]


class GroupDrops(NamedTuple):
    """Of one run of views, whose clips lie view after view."""

    time: Tensor
    """(depth, clips, patches of a frame) bool, true where the branch runs"""
    frames: Tensor
    """(depth, clips, frames)"""
    clips: Tensor
    """(depth, clips)"""

    def blocks(self, rate: float, device: torch.device) -> list[BlockDrops]:
        """Factors of each block, on the device: 0, or one over the share that is kept."""
        rates = torch.tensor(block_rates(rate, len(self.time)), device=device)
        time, frames, clips = (kept.to(device, non_blocking=True) / (1 - rates).view(-1, *[1] * (kept.ndim - 1)) for kept in self)
        return [BlockDrops(*each) for each in zip(time, frames, clips, strict=True)]


def block_rates(rate: float, depth: int) -> list[float]:
    """Share of rows that a block drops: a line from 0 at the first to `rate` at the last."""
    return [rate * block / max(1, depth - 1) for block in range(depth)]


def draw_drops(
    keys: Sequence[Sequence[int]], groups: Sequence[tuple[int, int, int]], *, patch_size: int, depth: int, rate: float
) -> list[GroupDrops]:
    """Draws for some samples, each from a generator of its own, so that they depend on no other sample and on no number of workers.

    Args:
        keys: non-negative integers for each sample.
        groups: views, frames and side in pixels of each run of views.
        patch_size: in pixels.
        depth: blocks.
        rate: of the last block.
    """
    limits = np.array(block_rates(rate, depth)).reshape(-1, 1, 1)
    rngs = [np.random.default_rng(tuple(key)) for key in keys]
    drawn = []
    for views, frames, side in groups:
        kinds = []
        for rows in ((side // patch_size) ** 2, frames, 1):
            each = [rng.random((depth, views, rows)) >= limits for rng in rngs]
            kinds.append(torch.from_numpy(np.stack(each, axis=2).reshape(depth, views * len(keys), rows)))  # view after view
        drawn.append(GroupDrops(kinds[0], kinds[1], kinds[2].squeeze(-1)))
    return drawn
