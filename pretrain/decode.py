"""From the bytes of a JPEG to its crops, decoded no larger than the crops need.

A JPEG can be decoded at a half, a quarter or an eighth of its size, from fewer of its coefficients. That is enough if the smallest crop box
still has the pixels of its crop. The boxes are drawn before, at full size, so they are the same at any scale.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pretrain.augment import Box, CropDraw, cut, draw_boxes, draw_crops
from pretrain.config import AugmentConfig

__all__ = ["Reduction", "choose_reduction", "decode", "decoded_crops", "decoded_image", "jpeg_size"]

Reduction = Literal[1, 2, 4, 8]

_FLAGS: dict[Reduction, int] = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _EXIF = 0xDA, 0xE1

Pixels = NDArray[np.uint8]


def decoded_crops(data: bytes, config: AugmentConfig, *, global_size: int, rng: np.random.Generator) -> tuple[Pixels, Pixels] | None:
    """The crops of an encoded image, as `multi_crop` gives them; None if it is no image. Arguments are those of `decoded_image`."""
    found = decoded_image(data, config, global_size=global_size, rng=rng)
    return None if found is None else cut(*found, config, global_size=global_size)


def decoded_image(
    data: bytes, config: AugmentConfig, *, global_size: int, rng: np.random.Generator
) -> tuple[Pixels, list[CropDraw]] | None:
    """An encoded image, no larger than its crops need, and what is drawn for them, with boxes in its pixels; None if it is no image.

    Args:
        data: a JPEG, or anything else that OpenCV reads, which is decoded in full.
        config: sizes, scales and probabilities.
        global_size: side of a global crop in pixels.
        rng: source of every draw.
    """
    size = jpeg_size(data)
    if size is None:
        image = decode(data)
        if image is None:
            return None
        boxes = draw_boxes(image.shape[1], image.shape[0], config, rng=rng)
        return image, draw_crops(boxes, config, rng=rng)
    width, height = size
    boxes = draw_boxes(width, height, config, rng=rng)
    sides = [global_size] * 2 + [config.local_size] * config.num_local
    reduction = choose_reduction(boxes, sides)
    image = decode(data, reduction)
    if image is None or image.shape[:2] != (math.ceil(height / reduction), math.ceil(width / reduction)):
        return None
    reduced: list[Box] = [(left / reduction, top / reduction, right / reduction, bottom / reduction) for left, top, right, bottom in boxes]
    return image, draw_crops(reduced, config, rng=rng)


def choose_reduction(boxes: list[Box], sides: list[int]) -> Reduction:
    """The largest reduction at which each box still has as many pixels as its crop, in both directions.

    Args:
        boxes: left, top, right, bottom at full size.
        sides: of the crop of each, in pixels.
    """
    least = min(min(right - left, bottom - top) / side for (left, top, right, bottom), side in zip(boxes, sides, strict=True))
    reductions: tuple[Reduction, ...] = (8, 4, 2)
    return next((reduction for reduction in reductions if least >= reduction), 1)


def decode(data: bytes, reduction: Reduction = 1) -> Pixels | None:
    """The pixels (height, width, 3), RGB, of an encoded image; None if it is none."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS[reduction])
    except cv2.error:  # no bytes at all, or a header that promises more pixels than OpenCV takes
        return None
    if image is not None and reduction > 1:  # OpenCV gives no RGB of these
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return None if image is None else image.astype(np.uint8, copy=False)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG's header states; None if it is no JPEG, or has Exif, which may say that it lies on its side."""
    if data[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # filling
            place += 1
            continue
        if marker in _FRAME_HEADERS:
            height, width = (int.from_bytes(data[place + start : place + start + 2], "big") for start in (5, 7))
            return (width, height) if width and height else None
        if marker == _SCAN or (marker == _EXIF and data[place + 4 : place + 8] == b"Exif"):
            return None
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
