"""How usable a frame is: numbers per frame, computed inside the content area at one fixed width.

The kernels are cheap (about a millisecond a frame together) and every number is stored, so that thresholds can be changed later without
decoding again. Width matters: the variance of the Laplacian grows with resolution, so all frames are first scaled to `FILTER_WIDTH`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

__all__ = [
    "FILTER_WIDTH",
    "FrameQuality",
    "bright_share",
    "bubble_share",
    "dark_share",
    "inner_mask",
    "laplacian_variance",
    "mean_luma",
    "measure",
    "motion",
    "shrink",
    "specular_share",
    "stool_shares",
]

FILTER_WIDTH = 256
_DARK_LUMA = 25
_BRIGHT_LUMA = 245
_SPECULAR_LUMA = 220
_SPECULAR_SATURATION = 60  # of 255; a highlight has the colour of the lamp, not of the tissue
_RIM_WIDTH = 5  # pixels at FILTER_WIDTH; what is bright and wider is no rim of a bubble
_RIM_CONTRAST = 0.18  # of the brightness around; the texture of tissue has less
_LEAST_CONTRAST = 8  # of 255; noise of a dark picture has less
_RIM_KERNEL = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_RIM_WIDTH, _RIM_WIDTH))
_FOAM_WINDOW = 21  # pixels at FILTER_WIDTH
_FOAM_DENSITY = 0.08  # share of rims in that window; single reflections are sparser
_YELLOW_HUES = slice(2, 9)  # steps of ten degrees: orange to yellow-green
_AMBER_HUE = 3
_TINTED_HUES = range(5, 27)  # tissue of such a hue was tinted by the processor or a narrow band: yellow has no meaning there


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameQuality:
    """The numbers of one frame."""

    blur: float
    """variance of the Laplacian; low is blurred"""
    luma: float
    """mean, 0-255"""
    dark_share: float
    bright_share: float
    specular_share: float
    bubble_share: float
    motion: float
    """mean absolute luma difference to the previous sample, 0-255; NaN for the first"""


def shrink(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale a picture down without aliasing, over five times as fast as OpenCV's INTER_AREA at these factors.

    Halved by exact 2x2 means while it is at least twice too large, then bilinear for the rest, which at a factor under two skips no pixel.
    """
    while picture.shape[1] >= 2 * width and picture.shape[0] >= 2 * height:
        half = (picture.shape[1] // 2, picture.shape[0] // 2)
        picture = cv2.resize(picture[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR))


def inner_mask(mask: np.ndarray) -> np.ndarray:
    """Erode a content mask by 2% of its width, so that the area's own edge is not taken for sharpness."""
    margin = max(1, round(0.02 * mask.shape[1]))
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return np.asarray(cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0))


def laplacian_variance(gray: np.ndarray, mask: np.ndarray) -> float:
    """Variance of the 3x3 Laplacian over the mask's pixels (Pech-Pacheco et al. 2000, "Diatom autofocusing")."""
    _, deviation = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S), mask=mask)
    return float(deviation[0, 0] ** 2)


def mean_luma(gray: np.ndarray, mask: np.ndarray) -> float:
    """Mean of the mask's pixels, 0-255."""
    return float(cv2.mean(gray, mask)[0])


def dark_share(gray: np.ndarray, mask: np.ndarray) -> float:
    """Share of the mask's pixels that are nearly black."""
    return _share(cv2.inRange(gray, 0, _DARK_LUMA), mask)


def bright_share(gray: np.ndarray, mask: np.ndarray) -> float:
    """Share of the mask's pixels that are nearly white."""
    return _share(cv2.inRange(gray, _BRIGHT_LUMA, 255), mask)


def specular_share(rgb: np.ndarray, gray: np.ndarray, mask: np.ndarray) -> float:
    """Share of the mask's pixels that are bright and colourless, as reflections of the lamp are (after Arnold et al. 2010)."""
    red, green, blue = cv2.split(rgb)
    spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    is_specular = cv2.bitwise_and(cv2.inRange(gray, _SPECULAR_LUMA, 255), cv2.inRange(spread, 0, _SPECULAR_SATURATION))
    return _share(is_specular, mask)


def bubble_share(rgb: np.ndarray, mask: np.ndarray) -> float:
    """Share of the mask's pixels in whose neighbourhood small bright structures crowd, as the rims and highlights of bubbles and foam do.

    Bright and small is what a white top-hat leaves of the least channel, so that a highlight on red tissue is as bright as one on grey; it
    must stand out in proportion to the brightness around, or coarse-grained tissue close to the lamp would pass for foam.
    """
    red, green, blue = cv2.split(rgb)
    small = cv2.morphologyEx(cv2.min(cv2.min(red, green), blue), cv2.MORPH_TOPHAT, _RIM_KERNEL)
    around = cv2.blur(cv2.max(cv2.max(red, green), blue), (_FOAM_WINDOW, _FOAM_WINDOW))
    contrast = np.maximum(cv2.convertScaleAbs(around, alpha=_RIM_CONTRAST), _LEAST_CONTRAST)
    rims = cv2.bitwise_and(cv2.compare(small, contrast, cv2.CMP_GT), mask)
    density = cv2.boxFilter(rims, cv2.CV_8U, (_FOAM_WINDOW, _FOAM_WINDOW))
    return _share(cv2.inRange(density, int(255 * _FOAM_DENSITY), 255), mask)


def stool_shares(profiles: Sequence[np.ndarray]) -> np.ndarray:
    """How much of each frame of one video is covered by what is yellower than the video's own tissue: stool and murky fluid.

    Tissue is crimson under one processor and orange under another, so the hue is compared with the video's commonest; what the video shows
    most of the time, also where it is yellow, counts as tissue.

    Args:
        profiles: from `color_profile`, of the frames in time order.

    Returns:
        [num_frames] share of the well-lit pixels; 0 where a frame is too dark to judge, or the video's tissue is tinted green to violet.
    """
    stack = np.nan_to_num(np.stack(profiles).astype(np.float64))
    typical = np.median(stack, axis=0)
    common = int(typical.sum(axis=0).argmax())
    if common in _TINTED_HUES:
        return np.zeros(len(stack))
    reach = 2 if common < _AMBER_HUE else 1  # tissue varies less in hue the yellower it is
    first = max(_YELLOW_HUES.start, common + reach) if common < _TINTED_HUES.start else _YELLOW_HUES.start
    yellow = slice(first, _YELLOW_HUES.stop)
    return np.asarray(np.clip(stack[:, 1, yellow] - typical[1, yellow], 0, None).sum(axis=1))


def motion(gray: np.ndarray, previous: np.ndarray | None, mask: np.ndarray) -> float:
    """Mean absolute luma difference over the mask, 0-255; NaN where there is no previous frame."""
    return float("nan") if previous is None else float(cv2.mean(cv2.absdiff(gray, previous), mask)[0])


def measure(rgb: np.ndarray, gray: np.ndarray, previous: np.ndarray | None, mask: np.ndarray) -> FrameQuality:
    """All numbers of a frame that is already scaled to `FILTER_WIDTH`; `mask` from `inner_mask`."""
    return FrameQuality(
        blur=laplacian_variance(gray, mask),
        luma=mean_luma(gray, mask),
        dark_share=dark_share(gray, mask),
        bright_share=bright_share(gray, mask),
        specular_share=specular_share(rgb, gray, mask),
        bubble_share=bubble_share(rgb, mask),
        motion=motion(gray, previous, mask),
    )


def _share(condition: np.ndarray, mask: np.ndarray) -> float:
    """Share of the mask's pixels that are 255 in `condition`; 0 for an empty mask."""
    return float(cv2.mean(condition, mask)[0] / 255)
