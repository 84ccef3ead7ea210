"""Small decoders of masks from frozen maps: a feature pyramid (Lin et al. 2017) and DPT (Ranftl et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["DptDecoder", "FpnDecoder"]


class FpnDecoder(nn.Module):
    """Each level to one width, added from the coarsest to the finest, one 3x3 convolution, one logit.

    [B, D_i, h_i, w_i] a level, coarser ones last, to [B, 1, h, w] on the finest grid. With 64 channels over the last three stages of
    EfficientNet-Lite0 (40, 112 and 320 channels) it has 67,521 parameters.
    """

    def __init__(self, channels: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(dim, width, 1) for dim in channels)
        self.norm = nn.GroupNorm(8, width)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)
        self.logit = nn.Conv2d(width, 1, 1)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Foreground logits."""
        placed = [lateral(level) for lateral, level in zip(self.lateral, maps, strict=True)]
        added = placed[-1]
        for level in reversed(placed[:-1]):
            added = level + _resized(added, level.shape[2:])
        logits: torch.Tensor = self.logit(F.relu(self.smooth(F.relu(self.norm(added)))))
        return logits


class DptDecoder(nn.Module):
    """Reassemble four levels as a pyramid, fuse it from the coarsest to the finest, and double the grid twice; once at half size.

    A transformer's maps [B, D, h, w] have one grid: they become 4, 2, 1 and 1/2 times as fine, and the logits [B, 1, 16h, 16w]. A CNN's
    stages are a pyramid already and keep their grids; with stages of stride 4 to 32 the logits have the image's size. At half size the
    logits have half of these sides, from the same parameters. The class token is left out. Parameters of a 12-block ViT-S (384
    channels): 18,332,801 with 256 channels, 1,257,809 with 64.
    """

    def __init__(self, channels: Sequence[int], width: int = 64, *, is_pyramid: bool = False, is_half: bool = False) -> None:
        super().__init__()
        self.is_half = is_half
        # the published 96, 192, 384 and 768 channels go with a width of 256
        dims = [max(8, width * share // 8) for share in (3, 6, 12, 24)]
        self.reassemble = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channel, dim, 1), nn.Identity() if is_pyramid else _resampling(number, dim))
            for number, (channel, dim) in enumerate(zip(channels, dims, strict=True))
        )
        self.project = nn.ModuleList(nn.Conv2d(dim, width, 3, padding=1, bias=False) for dim in dims)
        self.fuse = nn.ModuleList(_Fusion(width, has_side=number > 0) for number in range(len(dims)))
        self.before = nn.Conv2d(width, width // 2, 3, padding=1)
        self.after = nn.Conv2d(width // 2, 32, 3, padding=1)
        self.logit = nn.Conv2d(32, 1, 1)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Foreground logits."""
        pyramid = [project(reassemble(level)) for project, reassemble, level in zip(self.project, self.reassemble, maps, strict=True)]
        fused: torch.Tensor | None = None
        for number, (fuse, level) in enumerate(zip(self.fuse, reversed(pyramid), strict=True)):
            finer = pyramid[-2 - number].shape[2:] if number + 1 < len(pyramid) else (2 * level.shape[2], 2 * level.shape[3])
            fused = fuse(level, fused, finer)
        assert fused is not None, "there are four levels"
        fused = self.before(fused)
        if not self.is_half:
            fused = _resized(fused, (2 * fused.shape[2], 2 * fused.shape[3]))
        logits: torch.Tensor = self.logit(F.relu(self.after(fused)))
        return logits


class _Fusion(nn.Module):
    """Add a level to what is fused already, refine both by residual convolutions, and go on to the next finer grid."""

    def __init__(self, width: int, *, has_side: bool) -> None:
        super().__init__()
        self.side = _Residual(width) if has_side else None
        self.refine = _Residual(width)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, level: torch.Tensor, fused: torch.Tensor | None, size: Sequence[int]) -> torch.Tensor:
        if self.side is not None and fused is not None:
            level = fused + self.side(level)
        out: torch.Tensor = self.out(_resized(self.refine(level), size))
        return out


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.second(F.relu(self.first(F.relu(values))))
        return values + changed


def _resampling(number: int, dim: int) -> nn.Module:
    """4, 2, 1 and 1/2 times the grid, by learned convolutions."""
    if number < 2:
        factor = 4 >> number
        return nn.ConvTranspose2d(dim, dim, factor, stride=factor)
    return nn.Identity() if number == 2 else nn.Conv2d(dim, dim, 3, stride=2, padding=1)


def _resized(values: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return F.interpolate(values, tuple(size), mode="bilinear", align_corners=False)
