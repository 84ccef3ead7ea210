"""Rectangles that hold text: their geometry, and the two ways to keep what is in them out of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Box", "around", "blacked_out", "cropped_away", "is_inside", "is_line", "is_near", "overlap", "padded"]

_PADDING = 3  # pixels of the stored frame
_LINE = 3.0  # times its height; highlights, folds and vessels are found in shorter boxes


class Box(NamedTuple):
    """A rectangle in pixels: the left column, the top row, width and height."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column beyond it."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.y + self.height

    @property
    def area(self) -> int:
        """Pixels."""
        return self.width * self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of its pixels in an array of [height, width]."""
        return slice(self.y, self.bottom), slice(self.x, self.right)


def overlap(one: Box, other: Box) -> float:
    """Share of the smaller box that lies in the other, 0 to 1."""
    width = min(one.right, other.right) - max(one.x, other.x)
    height = min(one.bottom, other.bottom) - max(one.y, other.y)
    return max(0, width) * max(0, height) / min(one.area, other.area)


def around(one: Box, other: Box) -> Box:
    """The smallest box that holds both."""
    x, y = min(one.x, other.x), min(one.y, other.y)
    return Box(x, y, max(one.right, other.right) - x, max(one.bottom, other.bottom) - y)


def is_inside(box: Box, others: Sequence[Box]) -> bool:
    """Whether the box lies wholly in one of the others."""
    return any(around(box, other) == other for other in others)


def is_line(box: Box) -> bool:
    """Whether the box is as long as a line of several characters: at least three times as wide as high."""
    return box.width >= _LINE * box.height


def is_near(one: Box, other: Box) -> bool:
    """Whether the gap between two boxes is at most the height of the lower one: lines and fields of one block of text are."""
    gap_x = max(one.x, other.x) - min(one.right, other.right)
    gap_y = max(one.y, other.y) - min(one.bottom, other.bottom)
    return max(gap_x, gap_y) <= min(one.height, other.height)


def padded(box: Box) -> Box:
    """The box with three pixels more on each side, as far as the picture's left and top borders allow."""
    x, y = max(0, box.x - _PADDING), max(0, box.y - _PADDING)
    return Box(x, y, box.right + _PADDING - x, box.bottom + _PADDING - y)


def blacked_out(rgb: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Paint the boxes black, in place."""
    for box in boxes:
        rgb[box.slices] = 0
    return rgb


def cropped_away(size: tuple[int, int], boxes: Sequence[Box], *, least_share: float = 0.6) -> Box:
    """The part of a picture of `size` = (width, height) that is left when each box is cut off at the side where that costs least.

    A box whose cut would leave less than `least_share` of the picture stays in: it must be blacked out.
    """
    left, top, right, bottom = 0, 0, *size
    for box in boxes:
        if box.x >= right or box.y >= bottom or box.right <= left or box.bottom <= top:
            continue
        cuts = (
            (max(left, box.right), top, right, bottom),
            (left, max(top, box.bottom), right, bottom),
            (left, top, min(right, box.x), bottom),
            (left, top, right, min(bottom, box.y)),
        )
        best = max(cuts, key=lambda cut: (cut[2] - cut[0]) * (cut[3] - cut[1]))
        if (best[2] - best[0]) * (best[3] - best[1]) >= least_share * size[0] * size[1]:
            left, top, right, bottom = best
    return Box(left, top, right - left, bottom - top)
