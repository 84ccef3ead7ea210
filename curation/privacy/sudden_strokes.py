"""Strokes that appear from one frame of a film to the next: where text may have come that stays too short for a sample to show it.

A letter has edges from dark to bright and back within a few pixels, across and down. A block of the picture has as many strokes as it has
edges of the rarest of these four kinds. Tissue has mostly one kind in a block, and what moves was beside it a frame before.
"""

from __future__ import annotations

import cv2
import numpy as np

from curation.privacy.standing_edges import parts_around
from curation.privacy.text_boxes import Box

__all__ = ["stroke_blocks", "sudden_parts"]

_EDGE = 60  # of a Sobel gradient, as for edges that stand still
_BLOCK = (32, 16)  # pixels, a few letters
_FEWEST = 0.06  # share of a block's pixels
_TIMES = 1.5  # as many as were there before, or beside it
_BESIDE = np.ones((3, 3), np.uint8)


def stroke_blocks(rgb: np.ndarray) -> np.ndarray:
    """Strokes in each block of a picture, [height, width, 3] uint8: [rows, columns] uint8, 255 times their share of the block's pixels."""
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    blocks = max(1, gray.shape[1] // _BLOCK[0]), max(1, gray.shape[0] // _BLOCK[1])
    rarest: np.ndarray | None = None
    for dx, dy in ((1, 0), (0, 1)):
        step = cv2.Sobel(gray, cv2.CV_16S, dx, dy)
        for low, high in ((_EDGE, 32767), (-32768, -_EDGE)):
            share = cv2.resize(cv2.inRange(step, low, high), blocks, interpolation=cv2.INTER_AREA)
            rarest = share if rarest is None else cv2.min(rarest, share)
    return np.asarray(rarest, np.uint8)


def sudden_parts(now: np.ndarray, before: np.ndarray) -> tuple[Box, ...]:
    """The parts of a picture with strokes that were not there in the one before, by `stroke_blocks` of both."""
    sudden = (now >= 255 * _FEWEST) & (now > _TIMES * cv2.dilate(before, _BESIDE).astype(np.float32))
    return parts_around(sudden) if sudden.any() else ()
