"""Sharp edges that stand still while the camera moves, or appear while it does not: where there may be new text.

An edge has one of four directions. Tissue that comes to lie where other tissue lay mostly has edges in other directions, so a letter
that stands still is told from tissue that moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from curation.privacy.text_boxes import Box, blacked_out

__all__ = ["SampleEdges", "camera_moved", "next_edges", "parts_around", "stands"]

_EDGE = 60  # of a Sobel gradient, which is 4 times the step in luma: letters a little brighter than what is behind them
_BLOCK = (32, 16)  # a few letters, at 512 pixels
_STATIC_SHARE = 0.15  # of a block's pixels
_STILL = 2.0  # mean luma difference to the previous sample, under which everything stands still
_NEIGHBOURHOOD = np.ones((5, 5), np.uint8)  # of a pixel or a block: two on each side
_STANDS = 0.5  # of a box's edges, from which what it holds stood still
_MOVED = 0.3  # of all edges: where more are still there, the camera hardly moved
_FEWEST_EDGES = 20  # pixels; of fewer nothing can be said


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # arrays do not compare
class SampleEdges:
    """The edges of a sample, and what of them is new since the one before."""

    gray: np.ndarray
    edges: np.ndarray
    """[height, width] uint8: the directions of the edge at each pixel, one bit each"""
    is_still: bool = True
    """whether the sample shows the same picture as the one before; true of the first"""
    has_frozen: bool = False
    """whether it is the first that does"""
    hints: np.ndarray | None = None
    """[rows, columns] bool: blocks of the picture that hint at text; None for the first sample"""
    parts: tuple[Box, ...] = ()
    """parts of the picture that hint at text and did not in the sample before"""


def next_edges(rgb: np.ndarray, before: SampleEdges | None, *, inside: np.ndarray, known: Sequence[Box]) -> SampleEdges:
    """The edges of a sample, [height, width, 3] uint8, compared with those of the one before; None before the first.

    Nothing hints at text where `inside`, [height, width] uint8, is 0, nor in boxes that are `known` to hold text.
    """
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    edges = _directed_edges(gray)
    if before is None:
        return SampleEdges(gray=gray, edges=edges)
    is_still = cv2.mean(cv2.absdiff(gray, before.gray))[0] < _STILL
    if is_still:  # an edge that appears
        is_new = cv2.inRange(cv2.dilate(before.edges, _NEIGHBOURHOOD), 0, 0)
        sharp = cv2.bitwise_and(cv2.inRange(edges, 1, 255), is_new, mask=inside)
    else:  # an edge that stays
        sharp = cv2.inRange(cv2.bitwise_and(edges, before.edges, mask=inside), 1, 255)
    blocks = max(1, gray.shape[1] // _BLOCK[0]), max(1, gray.shape[0] // _BLOCK[1])
    hints = np.asarray(cv2.resize(blacked_out(sharp, known), blocks, interpolation=cv2.INTER_AREA) > 255 * _STATIC_SHARE)
    return SampleEdges(
        gray=gray,
        edges=edges,
        is_still=is_still,
        has_frozen=is_still and not before.is_still,
        hints=hints,
        parts=parts_around(hints if before.hints is None else hints & ~before.hints),
    )


def camera_moved(before: np.ndarray, now: np.ndarray, text: Sequence[Box]) -> bool:
    """Whether most edges outside the boxes of text are gone, from the edges of one sample to those of another."""
    tissue = blacked_out(before.copy(), text)
    return bool(np.count_nonzero(tissue) < _FEWEST_EDGES) or _kept(tissue, now) < _MOVED


def stands(before: np.ndarray, now: np.ndarray, box: Box) -> bool:
    """Whether at least half of the edges in the box are there still, in the same direction."""
    there = before[box.slices]
    return bool(np.count_nonzero(there) >= _FEWEST_EDGES) and _kept(there, now[box.slices]) >= _STANDS


def _kept(before: np.ndarray, now: np.ndarray) -> float:
    return float(np.count_nonzero(before & now) / np.count_nonzero(before))


def _directed_edges(gray: np.ndarray) -> np.ndarray:
    """[height, width] uint8: which of the four directions a sharp step from dark to bright has, one bit each."""
    edges = np.zeros(gray.shape, np.uint8)
    for axis, (dx, dy) in enumerate(((1, 0), (0, 1))):
        step = cv2.Sobel(gray, cv2.CV_16S, dx, dy)
        for sign, (low, high) in enumerate(((_EDGE, 32767), (-32768, -_EDGE))):
            bit = np.full_like(edges, 1 << (2 * axis + sign))
            edges = np.asarray(cv2.bitwise_or(edges, cv2.bitwise_and(cv2.inRange(step, low, high), bit)), np.uint8)
    return edges


def parts_around(blocks: np.ndarray) -> tuple[Box, ...]:
    """The parts of the picture that hold the marked blocks, each with room for the rest of a line; what is near belongs together."""
    count, labels = cv2.connectedComponents(cv2.dilate(blocks.astype(np.uint8), _NEIGHBOURHOOD))
    parts = []
    for number in range(1, count):
        rows, columns = np.nonzero(blocks & (labels == number))
        x, y = max(0, (int(columns.min()) - 1) * _BLOCK[0]), max(0, (int(rows.min()) - 2) * _BLOCK[1])
        parts.append(Box(x, y, (int(columns.max()) + 2) * _BLOCK[0] - x, (int(rows.max()) + 3) * _BLOCK[1] - y))
    return tuple(parts)
