"""Frames full of bubbles or foam."""

from __future__ import annotations

import cv2
import numpy as np

from curation.filters.frame_filter import FrameFilter
from curation.filters.picture import masked_share

__all__ = ["BUBBLE_SHARE", "bubble_share"]

_RIM_WIDTH = 5  # pixels at FILTER_WIDTH; what is bright and wider is no rim of a bubble
_RIM_CONTRAST = 0.18  # of the brightness around; the texture of tissue has less
_LEAST_CONTRAST = 8  # of 255; noise of a dark picture has less
_RIM_KERNEL = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_RIM_WIDTH, _RIM_WIDTH))
_FOAM_WINDOW = 21  # pixels at FILTER_WIDTH
_FOAM_DENSITY = 0.08  # share of rims in that window; single reflections are sparser


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
    return masked_share(cv2.inRange(density, int(255 * _FOAM_DENSITY), 255), mask)


BUBBLE_SHARE = FrameFilter(
    name="bubble_share",
    unit="share of the content's pixels that look like foam or bubbles",
    score=lambda picture: bubble_share(picture.rgb, picture.mask),
    bad="high",
    reason="bubbles",
)
