"""Three maps at half, one and two times the stride of a backbone's patches, from the map of a transformer or the stages of a CNN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["NUM_LEVELS", "SimplePyramid"]

NUM_LEVELS = 3

_GROUPS = 32


class SimplePyramid(nn.Module):
    """Maps of one width for a detection head.

    One map [B, D, h, w], at stride 16 as a rule, becomes three: by a transposed convolution at 8, as it is at 16, and pooled at 32
    (ViTDet's simple pyramid). Three maps at 8, 16 and 32 are the stages of a CNN: each coarser one is added to the next finer one. Each
    level has a 1x1 and a 3x3 convolution with group normalisation.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        """Build it.

        Args:
            channels: of the one map, or of the three from fine to coarse.
            width: channels of each level, a multiple of 32.

        Raises:
            ValueError: there are neither one nor three maps, or the width is no such multiple.
        """
        super().__init__()
        if len(channels) not in (1, NUM_LEVELS):
            raise ValueError(f"a pyramid has one map or {NUM_LEVELS}, and was given {len(channels)}")
        if width < _GROUPS or width % _GROUPS:
            raise ValueError(f"the width of the pyramid is {width}; give a multiple of {_GROUPS}")
        self.out_channels = width
        self.is_plain = len(channels) == 1
        if self.is_plain:
            half = max(_GROUPS, channels[0] // 2 // _GROUPS * _GROUPS)
            self.finer = nn.ConvTranspose2d(channels[0], half, kernel_size=2, stride=2)
            inputs = [half, channels[0], channels[0]]
        else:
            inputs = list(channels)
        self.narrow = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(count, width, 1, bias=False), nn.GroupNorm(_GROUPS, width)) for count in inputs]
        )
        self.smooth = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, width)) for _ in inputs]
        )

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Maps [B, D, h, w] to three of [B, width, h, w], from fine to coarse."""
        if self.is_plain:
            (tokens,) = maps
            maps = [self.finer(tokens), tokens, F.max_pool2d(tokens, 2, ceil_mode=True)]
        levels = [narrow(level) for narrow, level in zip(self.narrow, maps, strict=True)]
        if not self.is_plain:
            for number in reversed(range(len(levels) - 1)):
                above = F.interpolate(levels[number + 1], levels[number].shape[2:], mode="nearest")
                levels[number] = levels[number] + above
        return [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
