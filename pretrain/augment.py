"""Multi-crop augmentation of one image, every draw from one generator.

Crops stay 8-bit: they are normalised on the training device, so a quarter of the bytes travels. PIL does the antialiased bicubic
resize and the enhancements, OpenCV the hue and the blur: on this project's machines each is the fastest of PIL, OpenCV and torchvision.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from pretrain.config import AugmentConfig

__all__ = ["Box", "draw_boxes", "multi_crop"]

_RATIO = (3 / 4, 4 / 3)
_BLUR_KERNEL = 9
_SOLARIZE_FROM = 128

Pixels = NDArray[np.uint8]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


def draw_boxes(width: int, height: int, config: AugmentConfig, *, rng: np.random.Generator) -> list[Box]:
    """Where the two global and `config.num_local` local crops of an image of that size are cut out."""
    scales = [config.global_scale] * 2 + [config.local_scale] * config.num_local
    return [_crop_box(width, height, scale, rng) for scale in scales]


def multi_crop(
    image: Pixels, config: AugmentConfig, *, global_size: int, rng: np.random.Generator, boxes: list[Box] | None = None
) -> tuple[Pixels, Pixels]:
    """Two global and `config.num_local` local crops of an image (SwAV, DINO, and DINOv2's settings).

    Args:
        image: (height, width, 3), RGB, 0-255.
        config: sizes, scales and probabilities.
        global_size: side of a global crop in pixels.
        rng: source of every draw.
        boxes: of `draw_boxes`, if they are drawn already.

    Returns:
        (2, global_size, global_size, 3) and (num_local, local_size, local_size, 3), RGB, 0-255.
    """
    source = Image.fromarray(image)
    blur_1, blur_2, blur_local = config.blur_probabilities
    boxes = boxes or draw_boxes(source.width, source.height, config, rng=rng)
    global_crops = [
        _crop(source, boxes[0], global_size, config, blur_p=blur_1, solarize_p=0.0, rng=rng),
        _crop(source, boxes[1], global_size, config, blur_p=blur_2, solarize_p=config.solarize_p, rng=rng),
    ]
    local_crops = [_crop(source, box, config.local_size, config, blur_p=blur_local, solarize_p=0.0, rng=rng) for box in boxes[2:]]
    empty = np.empty((0, config.local_size, config.local_size, 3), np.uint8)
    return np.stack(global_crops), np.stack(local_crops) if local_crops else empty


def _crop(
    source: Image.Image,
    box: Box,
    size: int,
    config: AugmentConfig,
    *,
    blur_p: float,
    solarize_p: float,
    rng: np.random.Generator,
) -> Pixels:
    crop = source.resize((size, size), Image.Resampling.BICUBIC, box=box)
    if rng.random() < config.hflip_p:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < config.vflip_p:
        crop = crop.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if rng.random() < config.jitter_p:
        crop = _jitter(crop, config, rng)
    if rng.random() < config.gray_p:
        crop = crop.convert("L").convert("RGB")
    if rng.random() < blur_p:
        sigma = rng.uniform(*config.blur_sigma)
        crop = Image.fromarray(cv2.GaussianBlur(np.asarray(crop), (_BLUR_KERNEL, _BLUR_KERNEL), sigma).astype(np.uint8))
    if rng.random() < solarize_p:
        crop = ImageOps.solarize(crop, _SOLARIZE_FROM)
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


def _jitter(crop: Image.Image, config: AugmentConfig, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue in a random order."""
    factors = [1 + strength * rng.uniform(-1, 1) for strength in (config.brightness, config.contrast, config.saturation)]
    hue = config.hue * rng.uniform(-1, 1)
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for which in rng.permutation(4):
        crop = _shift_hue(crop, hue) if which == 3 else enhancers[which](crop).enhance(max(0.0, factors[which]))
    return crop


def _shift_hue(crop: Image.Image, turns: float) -> Image.Image:
    hsv = cv2.cvtColor(np.asarray(crop), cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(turns * 256) % 256)  # wraps round the circle, as hue does
    return Image.fromarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).astype(np.uint8))
