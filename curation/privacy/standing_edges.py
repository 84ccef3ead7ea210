"""Sharp edges that stand still while the camera moves, or appear while it does not: where to look for new text.

An edge has one of four directions. Tissue that comes to lie where other tissue lay mostly has edges in other directions, so a letter
that stands still is told from tissue that moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from curation.privacy.text_boxes import Box, blacked_out

__all__ = ["StandingEdges", "camera_moved", "directed_edges", "parts_around", "stands"]

_EDGE = 60  # of a Sobel gradient, which is 4 times the step in luma: letters a little brighter than what is behind them
_BLOCK = (32, 16)  # a few letters, at 512 pixels
_STATIC_SHARE = 0.15  # of a block's pixels
_STILL = 2.0  # mean luma difference to the previous sample, under which everything stands still
_NEIGHBOURHOOD = np.ones((5, 5), np.uint8)  # of a pixel or a block: two on each side
_STANDS = 0.5  # of a box's edges, from which what it holds stood still
_MOVED = 0.3  # of all edges: where more are still there, the camera hardly moved
_FEWEST_EDGES = 20  # pixels; of fewer nothing can be said


@dataclass(slots=True, kw_only=True)
class StandingEdges:
    """The edges of the latest sample, and what they were before."""

    inside: np.ndarray | None = None
    """[height, width] uint8, 0 where nothing counts: the border of the content area is sharp and stands still as well"""
    edges: np.ndarray | None = None
    """[height, width] uint8 of the latest sample, None before the first"""
    is_still: bool = True
    """whether the latest sample shows the same picture as the one before"""
    has_frozen: bool = False
    """whether it is the first that does"""
    _gray: np.ndarray | None = None
    _answered: np.ndarray | None = None

    def take(self, rgb: np.ndarray, known: Sequence[Box]) -> np.ndarray:
        """Note the next sample, [height, width, 3] uint8, and return the blocks that hint at new text, [rows, columns] bool.

        A block that hints twice in a row is returned once. What lies in the boxes that are known to hold text does not hint.
        """
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        previous, before, was_still = self._gray, self.edges, self.is_still
        self._gray, self.edges = gray, directed_edges(gray)
        rows, columns = max(1, gray.shape[0] // _BLOCK[1]), max(1, gray.shape[1] // _BLOCK[0])
        if previous is None or before is None:
            return np.zeros((rows, columns), bool)
        self.is_still = cv2.mean(cv2.absdiff(gray, previous))[0] < _STILL
        self.has_frozen = self.is_still and not was_still
        if self.is_still:  # an edge that appears
            nearby = cv2.dilate(before, _NEIGHBOURHOOD)
            sharp = cv2.bitwise_and(cv2.inRange(self.edges, 1, 255), cv2.inRange(nearby, 0, 0), mask=self.inside)
        else:  # an edge that stays
            sharp = cv2.inRange(cv2.bitwise_and(self.edges, before, mask=self.inside), 1, 255)
        for box in known:
            sharp[box.y : box.y + box.height, box.x : box.x + box.width] = 0
        blocks = np.asarray(cv2.resize(sharp, (columns, rows), interpolation=cv2.INTER_AREA) > 255 * _STATIC_SHARE)
        answered = self._answered if self._answered is not None else np.zeros_like(blocks)
        self._answered = blocks
        return np.asarray(blocks & ~answered)


def directed_edges(gray: np.ndarray) -> np.ndarray:
    """[height, width] uint8: which of the four directions a sharp step from dark to bright has, one bit each."""
    edges = np.zeros(gray.shape, np.uint8)
    for axis, (dx, dy) in enumerate(((1, 0), (0, 1))):
        step = cv2.Sobel(gray, cv2.CV_16S, dx, dy)
        for sign, (low, high) in enumerate(((_EDGE, 32767), (-32768, -_EDGE))):
            bit = np.full_like(edges, 1 << (2 * axis + sign))
            edges = np.asarray(cv2.bitwise_or(edges, cv2.bitwise_and(cv2.inRange(step, low, high), bit)), np.uint8)
    return edges


def camera_moved(before: np.ndarray, now: np.ndarray, text: Sequence[Box]) -> bool:
    """Whether most of what is not text is gone: edges outside its boxes, from the edges of one sample to those of another."""
    tissue = blacked_out(before.copy(), text)
    return bool(np.count_nonzero(tissue) < _FEWEST_EDGES) or _kept(tissue, now) < _MOVED


def stands(before: np.ndarray, now: np.ndarray, box: Box) -> bool:
    """Whether at least half of the edges in the box are there still, in the same direction."""
    part = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
    return bool(np.count_nonzero(before[part]) >= _FEWEST_EDGES) and _kept(before[part], now[part]) >= _STANDS


def _kept(before: np.ndarray, now: np.ndarray) -> float:
    return float(np.count_nonzero(before & now) / np.count_nonzero(before))


def parts_around(blocks: np.ndarray) -> list[Box]:
    """The parts of the picture that hold the marked blocks, each with room for the rest of a line; what is near belongs together."""
    count, labels = cv2.connectedComponents(cv2.dilate(blocks.astype(np.uint8), _NEIGHBOURHOOD))
    parts = []
    for number in range(1, count):
        rows, columns = np.nonzero(blocks & (labels == number))
        x, y = max(0, (int(columns.min()) - 1) * _BLOCK[0]), max(0, (int(rows.min()) - 2) * _BLOCK[1])
        parts.append(Box(x, y, (int(columns.max()) + 2) * _BLOCK[0] - x, (int(rows.max()) + 3) * _BLOCK[1] - y))
    return parts
