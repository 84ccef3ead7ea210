"""An encoder without weights: the colours of an image, and how much they vary, in each field of a grid."""

from __future__ import annotations

import torch

from curation.embedding import EncoderSource, Preprocessing

__all__ = ["COLOR_GRID"]

_SIDE = 64
_FIELDS = 4


class ColorGrid(torch.nn.Module):
    """Maps (n, 3, 64, 64) to (n, 96): mean and standard deviation of each channel in 4 x 4 fields."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 3, 1, 1))  # of means and deviations; learned weights would be loaded here

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns one vector an image."""
        mean = torch.nn.functional.adaptive_avg_pool2d(images, _FIELDS)
        square = torch.nn.functional.adaptive_avg_pool2d(images.square(), _FIELDS)
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        return torch.cat([mean * self.weight[0], deviation * self.weight[1]], dim=1).flatten(1)


COLOR_GRID = EncoderSource(
    name="color-grid",
    architecture="color_grid_4x4",
    preprocessing=Preprocessing(
        image_size=_SIDE,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        interpolation="bilinear",
        crop_pct=1.0,
        crop_mode="squash",
    ),
    load=ColorGrid,
)
