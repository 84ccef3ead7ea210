"""Imaging mode of a frame by its colours alone: a column to query by, never a reason to drop a frame.

Set by hand and checked on simulated modes only. Brown narrow-band imaging has the hues of orange tissue and counts as white light.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

__all__ = ["ALL_WARM", "SURELY_WARM", "ImagingMode", "find_imaging_mode", "median_saturation", "warm_share"]

ImagingMode = Literal["white_light", "nbi", "dye", "fluorescence", "grey", "unknown"]

SURELY_WARM = 0.7
"""from this `warm_share` on a frame has the colours of tissue in white light"""
ALL_WARM = 0.97
"""from this `warm_share` on structure is not looked at: nine tenths of the stills of CVC-ClinicDB and Kvasir-SEG have it"""

_NUM_HUES = 36  # steps of ten degrees, red first
_HUES = np.arange(_NUM_HUES)
_WARM = (_HUES <= 4) | (_HUES >= 32)
_GREEN = (_HUES >= 6) & (_HUES <= 19)  # yellow-green to teal
_BLUE = (_HUES >= 20) & (_HUES <= 30)
_LEAST_COLORED = 0.35  # share of the lit pixels; fewer make a grey frame
_LEAST_BLUE = 0.15
_ONE_HUE = 0.9  # share of the lit pixels within twenty degrees; a fluorescence picture has one hue throughout
_LEAST_SATURATION = 190  # of 255; a fluorescence picture has next to nothing in its other channels


def find_imaging_mode(profile: np.ndarray, saturation: float) -> ImagingMode:
    """The imaging mode that the colours of a frame suggest.

    Args:
        profile: [2, 36] from `curation.privacy.out_of_body.color_profile`.
        saturation: 0-255, from `median_saturation`.
    """
    by_hue = profile.sum(axis=0)
    colored = float(by_hue.sum())
    if np.isnan(colored):
        return "unknown"
    if colored < _LEAST_COLORED:
        return "grey"
    if by_hue[_BLUE].sum() >= _LEAST_BLUE:
        return "dye"
    if by_hue[_GREEN].sum() >= colored / 2:
        vivid = profile[1]
        has_one_hue = (vivid + np.roll(vivid, 1)).max() >= _ONE_HUE
        return "fluorescence" if has_one_hue and saturation >= _LEAST_SATURATION else "nbi"
    return "white_light" if by_hue[_WARM].sum() >= colored / 2 else "unknown"


def warm_share(profile: np.ndarray) -> float:
    """Share of the lit pixels that are vivid and warm, as tissue in white light is; NaN for a frame too dark to judge."""
    return float(profile[1][_WARM].sum())


def median_saturation(rgb: np.ndarray, mask: np.ndarray) -> float:
    """Median HSV saturation of the mask's pixels, 0-255; 0 for an empty mask."""
    counts = cv2.calcHist([cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)], [1], mask, [256], [0, 256]).ravel().cumsum()
    return float(np.searchsorted(counts, counts[-1] / 2))
