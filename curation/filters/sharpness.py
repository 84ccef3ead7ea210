"""Blurred frames, by the variance of the Laplacian."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from curation.filters.frame_filter import Floats, FrameFilter

__all__ = ["BLUR", "exposed_blur", "laplacian_variance"]


def laplacian_variance(gray: np.ndarray, mask: np.ndarray) -> float:
    """Variance of the 3x3 Laplacian over the mask's pixels (Pech-Pacheco et al. 2000, "Diatom autofocusing")."""
    _, deviation = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S), mask=mask)
    return float(deviation[0, 0] ** 2)


def exposed_blur(scores: Mapping[str, Floats]) -> Floats:
    """Variance of the Laplacian as it would be at a mean luma of 100: [num_frames].

    Contrast grows with exposure and the variance with its square: a dark frame is not for that reason blurred.
    """
    return np.asarray(scores["blur"] * (100 / np.maximum(scores["luma"], 1)) ** 2, np.float32)


BLUR = FrameFilter(
    name="blur",
    unit="variance of the Laplacian at 256 pixels' width; low is blurred",
    score=lambda picture: laplacian_variance(picture.gray, picture.mask),
    bad="low",
    reason="blurred",
    adjusted=exposed_blur,
)
