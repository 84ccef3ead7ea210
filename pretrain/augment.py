"""Multi-crop augmentation of one image, every draw from one generator.

Crops stay 8-bit: they are normalised on the training device, so a quarter of the bytes travels. PIL does the antialiased bicubic
resize and the enhancements, OpenCV the hue and the blur: on this project's machines each is the fastest of PIL, OpenCV and torchvision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from pretrain.config import AugmentConfig

__all__ = ["Box", "CropDraw", "Jitter", "cut", "draw_boxes", "draw_crops", "multi_crop"]

_RATIO = (3 / 4, 4 / 3)
BLUR_KERNEL = 9
SOLARIZE_FROM = 128
HUE = 3
"""in the order of a jitter"""

Pixels = NDArray[np.uint8]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


class Jitter(NamedTuple):
    """Changes of colour and the order in which they are made."""

    order: tuple[int, ...]
    """numbers of brightness 0, contrast 1, saturation 2 and hue 3"""
    factors: tuple[float, float, float]
    """of brightness, contrast and saturation; 1 changes nothing"""
    hue_shift: int
    """0-255, in 256ths of the colour circle"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CropDraw:
    """All that is drawn for one crop. What it does follows in the order of the fields."""

    box: Box
    hflip: bool
    vflip: bool
    jitter: Jitter | None
    gray: bool
    sigma: float
    """of the blur in pixels of the crop; 0 for none"""
    solarize: bool


def draw_boxes(width: int, height: int, config: AugmentConfig, *, rng: np.random.Generator) -> list[Box]:
    """Where the two global and `config.num_local` local crops of an image of that size are cut out."""
    scales = [config.global_scale] * 2 + [config.local_scale] * config.num_local
    return [_crop_box(width, height, scale, rng) for scale in scales]


def draw_crops(boxes: list[Box], config: AugmentConfig, *, rng: np.random.Generator) -> list[CropDraw]:
    """What becomes of the crops, drawn after their boxes."""
    blur_1, blur_2, blur_local = config.blur_probabilities
    blur_ps = [blur_1, blur_2] + [blur_local] * config.num_local
    solarize_ps = [0.0, config.solarize_p] + [0.0] * config.num_local
    return [
        CropDraw(
            box=box,
            hflip=rng.random() < config.hflip_p,
            vflip=rng.random() < config.vflip_p,
            jitter=_draw_jitter(config, rng) if rng.random() < config.jitter_p else None,
            gray=rng.random() < config.gray_p,
            sigma=rng.uniform(*config.blur_sigma) if rng.random() < blur_p else 0.0,
            solarize=rng.random() < solarize_p,
        )
        for box, blur_p, solarize_p in zip(boxes, blur_ps, solarize_ps, strict=True)
    ]


def multi_crop(image: Pixels, config: AugmentConfig, *, global_size: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Two global and `config.num_local` local crops of an image (SwAV, DINO, and DINOv2's settings).

    Args:
        image: (height, width, 3), RGB, 0-255.
        config: sizes, scales and probabilities.
        global_size: side of a global crop in pixels.
        rng: source of every draw.

    Returns:
        (2, global_size, global_size, 3) and (num_local, local_size, local_size, 3), RGB, 0-255.
    """
    boxes = draw_boxes(image.shape[1], image.shape[0], config, rng=rng)
    return cut(image, draw_crops(boxes, config, rng=rng), config, global_size=global_size)


def cut(image: Pixels, draws: list[CropDraw], config: AugmentConfig, *, global_size: int) -> tuple[Pixels, Pixels]:
    """The crops that were drawn, as `multi_crop` gives them."""
    source = Image.fromarray(image)
    global_crops = [_crop(source, draw, global_size) for draw in draws[:2]]
    local_crops = [_crop(source, draw, config.local_size) for draw in draws[2:]]
    empty = np.empty((0, config.local_size, config.local_size, 3), np.uint8)
    return np.stack(global_crops), np.stack(local_crops) if local_crops else empty


def _crop(source: Image.Image, draw: CropDraw, size: int) -> Pixels:
    crop = source.resize((size, size), Image.Resampling.BICUBIC, box=draw.box)
    if draw.hflip:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if draw.vflip:
        crop = crop.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if draw.jitter is not None:
        crop = _jittered(crop, draw.jitter)
    if draw.gray:
        crop = crop.convert("L").convert("RGB")
    if draw.sigma:
        crop = Image.fromarray(cv2.GaussianBlur(np.asarray(crop), (BLUR_KERNEL, BLUR_KERNEL), draw.sigma).astype(np.uint8))
    if draw.solarize:
        crop = ImageOps.solarize(crop, SOLARIZE_FROM)
    return np.asarray(crop)


def _crop_box(width: int, height: int, scale: tuple[float, float], rng: np.random.Generator) -> Box:
    """A random box of a share of the area and of an aspect ratio log-uniform in 3/4 to 4/3; the centre square where ten tries fail."""
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            left, top = int(rng.integers(width - box_width + 1)), int(rng.integers(height - box_height + 1))
            return left, top, left + box_width, top + box_height
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _draw_jitter(config: AugmentConfig, rng: np.random.Generator) -> Jitter:
    brightness, contrast, saturation = (
        max(0.0, 1 + strength * rng.uniform(-1, 1)) for strength in (config.brightness, config.contrast, config.saturation)
    )
    hue = config.hue * rng.uniform(-1, 1)
    order = tuple(int(number) for number in rng.permutation(4))
    return Jitter(order, (brightness, contrast, saturation), round(hue * 256) % 256)


def _jittered(crop: Image.Image, jitter: Jitter) -> Image.Image:
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for which in jitter.order:
        crop = _shift_hue(crop, jitter.hue_shift) if which == HUE else enhancers[which](crop).enhance(jitter.factors[which])
    return crop


def _shift_hue(crop: Image.Image, shift: int) -> Image.Image:
    hsv = cv2.cvtColor(np.asarray(crop), cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(shift)  # wraps round the circle, as hue does
    return Image.fromarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).astype(np.uint8))
