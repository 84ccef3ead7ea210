"""Pictures with what a head says of them drawn in: a mask's outline, boxes, a line of text, and the mark that this is for research."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

__all__ = ["MARK", "overlaid"]

MARK = "research use only"
"""burned into every picture"""

_OUTLINE = (255, 214, 10)
_UNLIKE = (255, 140, 60)
_TEXT = (255, 255, 255)
_SMALLEST_TEXT = 12

Pixels = npt.NDArray[np.uint8]

Box = tuple[tuple[float, float, float, float], str]
"""x0, y0, x1, y1 in pixels, and what is written at it"""


def overlaid(
    rgb: Pixels,
    *,
    mask: npt.NDArray[np.bool_] | None = None,
    boxes: Sequence[Box] = (),
    text: str = "",
    is_unlike: bool = False,
) -> Pixels:
    """A copy of a picture [H, W, 3] uint8 with the mark, the outline of a mask [H, W] or boxes, and a line of text.

    Args:
        rgb: the picture; what may not be seen is black already.
        mask: of the foreground.
        boxes: each with what is written at it.
        text: shown at the top left.
        is_unlike: whether to say that the picture is unlike the training data.
    """
    picture = np.ascontiguousarray(rgb).copy()
    height, width = picture.shape[:2]
    line = max(1, round(min(height, width) / 240))
    if mask is not None and mask.any():
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, _OUTLINE, line)
    size = max(_SMALLEST_TEXT, round(min(height, width) / 30))
    margin = size // 2
    for corners, told in reversed(boxes):  # the surest on top
        x0, y0, x1, y1 = (round(side) for side in corners)
        cv2.rectangle(picture, (x0, y0), (min(x1, width) - 1, min(y1, height) - 1), _OUTLINE, line)
        name = _written(told, size, _OUTLINE)
        _place(picture, name, min(x0, width - name.shape[1]), y0 - name.shape[0] if y0 >= name.shape[0] else y0 + line)
    lines = [(text, _TEXT)] if text else []
    if is_unlike:
        lines.append(("unlike the training data", _UNLIKE))
    for number, (told, color) in enumerate(lines):
        _place(picture, _written(told, size, color), margin, margin + number * round(1.5 * size))
    mark = _fitted(_written(MARK, size, _TEXT), max(1, width - 2 * margin), max(1, height - 2 * margin))
    _place(picture, mark, margin, height - mark.shape[0] - margin)
    return picture


@functools.lru_cache(maxsize=256)
def _written(text: str, size: int, color: tuple[int, int, int]) -> Pixels:
    """[h, w, 3] text on black."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    pad = size // 4
    image = Image.new("RGB", (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad))
    ImageDraw.Draw(image).text((pad - left, pad - top), text, font=font, fill=color)
    return np.asarray(image)


def _fitted(text: Pixels, width: int, height: int) -> Pixels:
    """The text made smaller until it is no wider and no higher than that."""
    scale = min(width / text.shape[1], height / text.shape[0])
    if scale >= 1:
        return text
    size = (max(1, int(scale * text.shape[1])), max(1, int(scale * text.shape[0])))
    return np.asarray(cv2.resize(text, size, interpolation=cv2.INTER_AREA), np.uint8)


def _place(picture: Pixels, text: Pixels, x: int, y: int) -> None:
    """Put text into a picture, cut where it is too small for it."""
    x, y = max(0, x), max(0, y)
    part = text[: max(0, picture.shape[0] - y), : max(0, picture.shape[1] - x)]
    picture[y : y + part.shape[0], x : x + part.shape[1]] = part
