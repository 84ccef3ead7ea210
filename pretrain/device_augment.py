"""Crops of many images at once, on the device: the operations of pretrain/augment.py for all crops that have one, from the same draws.

Pixels are whole numbers after each operation, as there. Resizing is PIL's antialiased bicubic and blurring a Gaussian, each as two products
of matrices: the weights of a row of output pixels are a row of a matrix. Nothing here waits for the device: which crops have an operation
is known on the host, and comes along as indices.
"""

from __future__ import annotations

import math
from enum import IntEnum

import torch
from torch import Tensor

from pretrain.augment import BLUR_KERNEL, SOLARIZE_FROM

__all__ = ["GROUPS", "NUM_COLUMNS", "Column", "apply_groups", "num_taps", "resized"]


class Column(IntEnum):
    """Of a table of draws, one row a crop."""

    LEFT = 0
    TOP = 1
    RIGHT = 2
    BOTTOM = 3
    WIDTH = 4
    """of the image in its canvas"""
    HEIGHT = 5
    HFLIP = 6
    VFLIP = 7
    ORDER = 8
    """four: which change of colour comes first, second, ..."""
    BRIGHTNESS = 12
    CONTRAST = 13
    SATURATION = 14
    HUE = 15
    """256ths of the colour circle"""
    SIGMA = 16


NUM_COLUMNS = 17
GROUPS = ("blend 0", "hue 0", "blend 1", "hue 1", "blend 2", "hue 2", "blend 3", "hue 3", "gray", "blur", "solarize")
"""Operations in their order. A blend is the brightness, contrast or saturation that comes at that place of the crop's order."""


def num_taps(longest: float, side: int, length: int) -> int:
    """Source pixels that one output pixel is made from, at the most.

    Args:
        longest: side of a box in pixels.
        side: of its crop in pixels.
        length: of the canvas in pixels.
    """
    return min(length, math.ceil(4 * max(1.0, longest / side)) + 1)


def resized(canvases: Tensor, draws: Tensor, side: int, taps: tuple[int, int]) -> Tensor:
    """Cut boxes out of images and resize them, turned over where so drawn.

    Args:
        canvases: (images, height, width, 3) uint8, each image at the top left.
        draws: (images, views, NUM_COLUMNS) float32.
        side: of the crops in pixels.
        taps: `num_taps` across and down.

    Returns:
        (images * views, 3, side, side) float32, whole numbers of 0-255.
    """
    images, height, width, _ = canvases.shape
    views = draws.shape[1]
    across = _weights(draws, Column.LEFT, Column.RIGHT, Column.WIDTH, Column.HFLIP, side, width, taps[0])
    down = _weights(draws, Column.TOP, Column.BOTTOM, Column.HEIGHT, Column.VFLIP, side, height, taps[1])
    pixels = canvases.permute(0, 3, 1, 2).to(across.dtype).reshape(images, 3 * height, width)
    rows = torch.bmm(pixels, across.reshape(images, views * side, width).transpose(1, 2))
    rows = rows.add_(0.5).floor_().clamp_(0, 255)  # as PIL between its two passes; of some upright images it makes the other one first
    rows = rows.view(images, 3, height, views, side).permute(0, 3, 2, 1, 4).reshape(images * views, height, 3 * side)
    crops = torch.bmm(down.reshape(images * views, side, height), rows)
    return crops.float().add_(0.5).floor_().clamp_(0, 255).view(-1, side, 3, side).transpose(1, 2).contiguous()


def apply_groups(crops: Tensor, draws: Tensor, groups: list[Tensor]) -> Tensor:
    """Change colours, blur and solarise in place.

    Args:
        crops: (crops, 3, side, side) float32, whole numbers of 0-255.
        draws: (crops, NUM_COLUMNS) float32.
        groups: for each of GROUPS the crops that have the operation, int64.
    """
    for name, rows in zip(GROUPS, groups, strict=True):
        if not len(rows):
            continue
        kind, _, place = name.partition(" ")
        found, own = crops[rows], draws[rows]
        if kind == "blend":
            found = _blended(found, own, own[:, Column.ORDER + int(place)])
        elif kind == "hue":
            found = _hue_shifted(found, own[:, Column.HUE])
        elif kind == "gray":
            found = _luma(found).expand_as(found)
        elif kind == "blur":
            found = _blurred(found, own[:, Column.SIGMA])
        else:
            found = torch.where(found < SOLARIZE_FROM, found, 255 - found)
        crops.index_copy_(0, rows, found)
    return crops


def _dtype(device: torch.device) -> torch.dtype:
    """Of the products: pixels are exact in float16, and sums are kept in float32."""
    return torch.float16 if device.type == "cuda" else torch.float32


def _weights(draws: Tensor, low: int, high: int, size: int, flip: int, side: int, length: int, taps: int) -> Tensor:
    """(images, views, side, length): share of each source pixel in each output pixel along one axis, as PIL's bicubic has them."""
    start, stop, limit, is_flipped = (draws[..., column, None] for column in (low, high, size, flip))
    scale = (stop - start) / side
    place = torch.arange(side, device=draws.device, dtype=torch.float32) + 0.5
    centre = start + torch.where(is_flipped > 0, side - place, place) * scale
    reach = scale.clamp(min=1)
    first = (centre - 2 * reach + 0.5).floor_().clamp_(0, length - taps)
    source = first[..., None] + torch.arange(taps, device=draws.device, dtype=torch.float32)
    # Keys' kernel with a = -1/2, by the distance to where it ends
    left = 2 - ((source + 0.5 - centre[..., None]) / reach[..., None]).abs_()
    left = left.clamp_(min=0) * (source < limit[..., None])
    shares = left.square() * (left - 1) / 2 + (left - 1).clamp_(min=0).square_() * (3 - 2 * left)
    shares /= shares.sum(dim=-1, keepdim=True)
    dtype = _dtype(draws.device)
    return torch.zeros(*source.shape[:-1], length, device=draws.device, dtype=dtype).scatter_(-1, source.long(), shares.to(dtype))


def _luma(crops: Tensor) -> Tensor:
    """(crops, 1, side, side) grey, as PIL has it; the sum is exact in float32."""
    red, green, blue = crops.unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) / 65536).floor_().unsqueeze(1)


def _blended(crops: Tensor, draws: Tensor, which: Tensor) -> Tensor:
    """Between black, the mean grey or the grey image and the crop, or beyond: brightness, contrast and saturation, as PIL has them."""
    luma = _luma(crops)
    mean = (luma.mean(dim=(1, 2, 3)) + 0.5).floor_()
    which = which[:, None, None, None]
    other = torch.where(which == 0, 0.0, torch.where(which == 1, mean[:, None, None, None], luma))
    factor = draws[:, Column.BRIGHTNESS : Column.SATURATION + 1].gather(1, which.flatten()[:, None].long())[:, :, None, None]
    return (other + factor * (crops - other)).clamp_(0, 255).floor_()


def _hue_shifted(crops: Tensor, shift: Tensor) -> Tensor:
    """Turn the colour circle, in the whole numbers of OpenCV's HSV of 8 bits."""
    red, green, blue = crops.unbind(1)
    value, least = crops.amax(dim=1), crops.amin(dim=1)
    span = value - least
    # OpenCV multiplies by rounded inverses of 12 binary digits
    saturation = ((span * torch.round(255 * 4096 / value.clamp(min=1)) + 2048) / 4096).floor_()
    sector = torch.where(value == red, green - blue, torch.where(value == green, blue - red + 2 * span, red - green + 4 * span))
    hue = ((sector * torch.round(256 * 4096 / (6 * span.clamp(min=1))) + 2048) / 4096).floor_()
    hue = torch.remainder(hue + shift[:, None, None], 256)
    turned = hue * (6 / 255)  # OpenCV has 256ths of the circle on the way there and 255ths on the way back
    strength = value * saturation / 255

    def channel(offset: int) -> Tensor:
        """Of one colour: full within a sixth on both sides of its own place, none beyond two."""
        distance = (turned - offset + 3).remainder(6).sub_(3).abs_()
        return value - strength * (distance - 1).clamp_(0, 1)

    return torch.stack([channel(0), channel(2), channel(4)], dim=1).round_().clamp_(0, 255)


def _blurred(crops: Tensor, sigma: Tensor) -> Tensor:
    """Gaussians of BLUR_KERNEL pixels, each crop with its own width, mirrored at the border's pixel."""
    count, _, side, _ = crops.shape
    reach = BLUR_KERNEL // 2
    taps = torch.arange(-reach, reach + 1, device=crops.device)
    shares = torch.exp(-(taps.float() ** 2) / (2 * sigma[:, None] ** 2))
    shares = shares / shares.sum(dim=1, keepdim=True)
    last = side - 1
    source = last - (last - (torch.arange(side, device=crops.device)[:, None] + taps).abs_()).abs_()
    weights = torch.zeros(count, side, side, device=crops.device)
    weights.scatter_add_(2, source.expand(count, -1, -1), shares[:, None, :].expand(-1, side, -1))
    matrix = weights.to(_dtype(crops.device))
    rows = torch.bmm(crops.to(matrix.dtype).reshape(count, 3 * side, side), matrix.transpose(1, 2))
    rows = rows.view(count, 3, side, side).transpose(1, 2).reshape(count, side, 3 * side)
    found = torch.bmm(matrix, rows).float().add_(0.5).floor_().clamp_(0, 255)
    return found.view(count, side, 3, side).transpose(1, 2)
