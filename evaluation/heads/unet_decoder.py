"""The decoder half of a U-Net (Ronneberger et al. 2015) on frozen maps: every level is refined before it goes on to the next finer one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["UnetDecoder"]

_DROPOUT = 0.1
"""share of channels that a training step leaves out, of each level and inside each block"""


class UnetDecoder(nn.Module):
    """Each level to one width, refined by residual convolutions from the coarsest to the finest, one logit.

    [B, D_i, h_i, w_i] a level, coarser ones last, to [B, 1, h, w] on the finest grid. The coarsest level has two residual blocks and the
    others have one: what a pixel belongs to is seen on the coarse grids, where a convolution is cheap. With 64 channels over the last three
    stages of EfficientNet-Lite0 (40, 112 and 320 channels) it has 327,041 parameters.
    """

    def __init__(self, channels: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(_DROPOUT)
        self.lateral = nn.ModuleList(nn.Conv2d(dim, width, 1) for dim in channels)
        depths = [1] * (len(channels) - 1) + [2]
        self.refine = nn.ModuleList(nn.Sequential(*(_Refining(width) for _ in range(depth))) for depth in depths)
        self.norm = nn.GroupNorm(8, width)
        self.logit = nn.Conv2d(width, 1, 1)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Foreground logits."""
        refined: torch.Tensor | None = None
        for lateral, refine, level in reversed(list(zip(self.lateral, self.refine, maps, strict=True))):
            placed = lateral(self.drop(level))
            if refined is not None:
                placed = placed + F.interpolate(refined, placed.shape[2:], mode="bilinear", align_corners=False)
            refined = refine(placed)
        assert refined is not None, "there is a level"
        logits: torch.Tensor = self.logit(F.relu(self.norm(refined)))
        return logits


class _Refining(nn.Module):
    """A residual block with its normalisation first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.drop = nn.Dropout2d(_DROPOUT)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        changed = F.relu(self.second_norm(self.first(F.relu(self.first_norm(values)))))
        out: torch.Tensor = values + self.second(self.drop(changed))
        return out
