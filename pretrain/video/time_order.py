"""A time embedding that tells frames apart, for training that must learn their order.

A fresh or inflated network has a time embedding of zeros: a clip and its reverse give the same vector, as Endo-FM's does at first. A
classifier of such vectors has no weights to tell the two by, so that no gradient reaches the network below it.
"""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor

from pretrain.video.model import DividedSpaceTimeViT

__all__ = ["sinusoids", "with_time_order"]

_LONGEST = 100.0
"""radians of the fastest channels for one of the slowest: all of them move within a clip of tens of frames"""


def sinusoids(num_frames: int, dim: int) -> Tensor:
    """(1, num_frames, dim): sines and cosines of the frame's number, slower from channel to channel (Vaswani et al. 2017)."""
    channels = torch.arange(dim)
    rates = _LONGEST ** (-2 * torch.div(channels, 2, rounding_mode="floor") / dim)
    return torch.sin(torch.arange(num_frames)[:, None] * rates + (channels % 2) * math.pi / 2)[None]


def with_time_order(module: DividedSpaceTimeViT, clips: Tensor) -> DividedSpaceTimeViT:
    """A copy of a network with sinusoids added to its time embedding, as large as the patches of clips are.

    Args:
        module: it stays as it is.
        clips: (clips, 3, frames, height, width), normalised, on its device.
    """
    changed = deepcopy(module)
    with torch.no_grad():
        size = module.patch_embed(clips.transpose(1, 2).flatten(0, 1)).square().mean().sqrt()
        changed.time_embed.add_(size * sinusoids(*module.time_embed.shape[1:]).to(module.time_embed))
    return changed
