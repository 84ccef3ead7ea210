"""Pictures as the filters see them: the content area at one fixed width.

All filters together take about a millisecond a frame, and every score is stored, so that thresholds can change later without decoding.
The width matters: the variance of the Laplacian grows with resolution, so all frames are first scaled to `FILTER_WIDTH`.
"""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["FILTER_WIDTH", "inner_mask", "masked_share", "shrink"]

FILTER_WIDTH = 256


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


def masked_share(condition: np.ndarray, mask: np.ndarray) -> float:
    """Share of the mask's pixels that are 255 in `condition`; 0 for an empty mask."""
    return float(cv2.mean(condition, mask)[0] / 255)
