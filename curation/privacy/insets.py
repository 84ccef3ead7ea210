"""Rectangles inside the picture that are not the endoscope's image: position trackers, logos, a second picture.

They stand still and have straight sides along the pixel grid. In the weakest gradient over pictures from different moments only what
stands still has edges left; long horizontal and vertical ones that meet are sides of an inset. A tracker's field of plain green is known by
its colour alone, also in a single picture: no tissue is green.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np

from curation.privacy.text_boxes import Box, is_inside

__all__ = ["find_insets"]

_FEWEST_PICTURES = 6  # in fewer a fold or an instrument may seem to stand still
_OTHER_SCENE = 8.0  # mean luma difference to the picture before
_SIDE_SHARE = 0.12  # of the picture's width or height: the shortest side
_LARGEST_SHARE = 0.3  # of the picture
_STEP = 24  # of a Sobel gradient, in every picture
_REACH = 5  # pixels by which sides may miss each other
_FILLED = 0.85  # of its bounding box, for a field of one colour
_GREEN = ((40, 90, 60), (95, 255, 255))  # hue (of 180), saturation and value


def find_insets(pictures: Sequence[np.ndarray], inside: np.ndarray) -> tuple[Box, ...]:
    """Insets that all the pictures of one video share, in their pixels.

    Args:
        pictures: [height, width, 3] uint8 RGB, all of one size, from different moments; one is enough for fields of green.
        inside: [height, width] uint8, 255 in the content area.
    """
    found = _green_fields(pictures, inside)
    if len(pictures) >= _FEWEST_PICTURES:
        found += _framed(pictures, inside)
    return tuple(sorted(_merged(found)))


def _green_fields(pictures: Sequence[np.ndarray], inside: np.ndarray) -> list[Box]:
    green = inside.copy()
    for picture in pictures:
        green = cv2.bitwise_and(green, cv2.inRange(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV), *map(np.array, _GREEN)))
    green = cv2.morphologyEx(green, cv2.MORPH_CLOSE, np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(green)
    least = 0.005 * inside.size
    return [Box(*map(int, box[:4])) for box in stats[1:] if box[4] >= least and box[4] >= _FILLED * box[2] * box[3]]


def _framed(pictures: Sequence[np.ndarray], inside: np.ndarray) -> list[Box]:
    """Rectangles whose sides stand still; a side may lie on the border of the content area, where nothing can be seen of it."""
    height, width = inside.shape
    margin = np.ones((4 * _REACH + 1, 4 * _REACH + 1), np.uint8)  # the border's own edge stands still too
    well_inside = cv2.erode(inside, margin, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    grays = [cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (3, 3), 0) for picture in pictures]
    if min(cv2.mean(cv2.absdiff(gray, after), inside)[0] for gray, after in itertools.pairwise(grays)) < _OTHER_SCENE:
        return []
    lines = {}
    for name, (dx, dy), length in (("row", (0, 1), round(_SIDE_SHARE * width)), ("column", (1, 0), round(_SIDE_SHARE * height))):
        steps = np.stack([cv2.convertScaleAbs(cv2.Sobel(gray, cv2.CV_16S, dx, dy)) for gray in grays])
        lower = len(steps) // 4  # in a few of the pictures the scene behind may happen to be as bright
        weakest = np.partition(steps, lower, axis=0)[lower]
        edges = cv2.bitwise_and(cv2.inRange(weakest, _STEP, 255), well_inside)
        kernel = np.ones((1, length) if name == "row" else (length, 1), np.uint8)
        closing = np.ones((1, 2 * _REACH + 1) if name == "row" else (2 * _REACH + 1, 1), np.uint8)
        straight = cv2.morphologyEx(cv2.morphologyEx(edges, cv2.MORPH_CLOSE, closing), cv2.MORPH_OPEN, kernel)
        _, _, stats, _ = cv2.connectedComponentsWithStats(straight)
        lines[name] = [Box(*map(int, line[:4])) for line in stats[1:]]
    found = []
    for row in lines["row"]:
        for column in lines["column"]:
            box = _corner(row, column, well_inside)
            if box and box.area <= _LARGEST_SHARE * inside.size:
                found.append(box)
    return found


def _corner(row: Box, column: Box, inside: np.ndarray) -> Box | None:
    """The rectangle that a horizontal and a vertical side span, if they meet at a corner of it."""
    x, y = column.x + column.width // 2, row.y + row.height // 2
    ends_left, ends_right = abs(row.x - x) <= 2 * _REACH, abs(row.right - x) <= 2 * _REACH
    ends_top, ends_bottom = abs(column.y - y) <= 2 * _REACH, abs(column.bottom - y) <= 2 * _REACH
    if ends_left == ends_right or ends_top == ends_bottom:
        return None
    left, right = (x, row.right) if ends_left else (row.x, x)
    top, bottom = (y, column.bottom) if ends_top else (column.y, y)
    # where a side runs out of the content area, the inset does too
    if not inside[y, min(right + 3 * _REACH, inside.shape[1] - 1)]:
        right = inside.shape[1] if ends_left else right
    if not inside[y, max(left - 3 * _REACH, 0)]:
        left = 0 if ends_right else left
    if not inside[min(bottom + 3 * _REACH, inside.shape[0] - 1), x]:
        bottom = inside.shape[0] if ends_top else bottom
    if not inside[max(top - 3 * _REACH, 0), x]:
        top = 0 if ends_bottom else top
    return Box(left, top, right - left, bottom - top)


def _merged(boxes: Sequence[Box]) -> list[Box]:
    """One box for all that were spanned by different corners of the same rectangle."""
    merged: list[Box] = []
    for box in sorted(boxes, key=lambda box: -box.area):
        if not is_inside(box, [Box(x - _REACH, y - _REACH, width + 2 * _REACH, height + 2 * _REACH) for x, y, width, height in merged]):
            merged.append(box)
    return merged
