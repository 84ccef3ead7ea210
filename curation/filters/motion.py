"""How much a frame differs from the one before; ingest drops frozen frames by it and the perceptual hash."""

from __future__ import annotations

import cv2
import numpy as np

from curation.filters.frame_filter import FrameFilter

__all__ = ["MOTION", "motion"]


def motion(gray: np.ndarray, previous: np.ndarray | None, mask: np.ndarray) -> float:
    """Mean absolute luma difference over the mask, 0-255; NaN where there is no previous frame."""
    return float("nan") if previous is None else float(cv2.mean(cv2.absdiff(gray, previous), mask)[0])


MOTION = FrameFilter(
    name="motion",
    unit="mean absolute luma difference to the previous sample, 0-255",
    score=lambda picture: motion(picture.gray, picture.previous, picture.mask),
    by_device=False,
)
