"""Frames in which the lamp is mirrored."""

from __future__ import annotations

import cv2
import numpy as np

from curation.filters.frame_filter import FrameFilter
from curation.filters.picture import masked_share

__all__ = ["SPECULAR_SHARE", "specular_share"]

_SPECULAR_LUMA = 220
_SPECULAR_SATURATION = 60  # of 255; a highlight has the colour of the lamp, not of the tissue


def specular_share(rgb: np.ndarray, gray: np.ndarray, mask: np.ndarray) -> float:
    """Share of the mask's pixels that are bright and colourless, as reflections of the lamp are (after Arnold et al. 2010)."""
    red, green, blue = cv2.split(rgb)
    spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    is_specular = cv2.bitwise_and(cv2.inRange(gray, _SPECULAR_LUMA, 255), cv2.inRange(spread, 0, _SPECULAR_SATURATION))
    return masked_share(is_specular, mask)


SPECULAR_SHARE = FrameFilter(
    name="specular_share",
    unit="share of the content's pixels that mirror the lamp",
    score=lambda picture: specular_share(picture.rgb, picture.gray, picture.mask),
    bad="high",
    reason="specular",
)
