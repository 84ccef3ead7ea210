"""Frames that are too dark or too bright to show anything."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from curation.filters.frame_filter import FrameFilter
from curation.filters.picture import masked_share

__all__ = ["BRIGHT_SHARE", "DARK_SHARE", "HIGH_LUMA", "LOW_LUMA", "bright_share", "dark_share", "mean_luma"]

_DARK_LUMA = 25
_BRIGHT_LUMA = 245


def mean_luma(gray: np.ndarray, mask: np.ndarray) -> float:
    """Mean of the mask's pixels, 0-255."""
    return float(cv2.mean(gray, mask)[0])


def dark_share(gray: np.ndarray, mask: np.ndarray) -> float:
    """Share of the mask's pixels that are nearly black."""
    return masked_share(cv2.inRange(gray, 0, _DARK_LUMA), mask)


def bright_share(gray: np.ndarray, mask: np.ndarray) -> float:
    """Share of the mask's pixels that are nearly white."""
    return masked_share(cv2.inRange(gray, _BRIGHT_LUMA, 255), mask)


LOW_LUMA = FrameFilter(
    name="luma",
    unit="mean luma, 0-255",
    score=lambda picture: mean_luma(picture.gray, picture.mask),
    bad="low",
    reason="too_dark",
    by_device=False,
)
DARK_SHARE = FrameFilter(
    name="dark_share",
    unit="share of the content's pixels with a luma of at most 25",
    score=lambda picture: dark_share(picture.gray, picture.mask),
    bad="high",
    reason="too_dark",
    by_device=False,
)
HIGH_LUMA = replace(LOW_LUMA, bad="high", reason="too_bright")
BRIGHT_SHARE = FrameFilter(
    name="bright_share",
    unit="share of the content's pixels with a luma of at least 245",
    score=lambda picture: bright_share(picture.gray, picture.mask),
    bad="high",
    reason="too_bright",
    by_device=False,
)
