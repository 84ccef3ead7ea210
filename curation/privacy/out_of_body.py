"""Keep people out: frames that do not show the inside of a patient, and everything outside the content area.

Inside the body red dominates in white light; a room, a drape or a screen has greens, blues, greys and blacks, and so have dye, narrow
bands and fluorescence. The score by colour is one minus the share of well-lit pixels with the colour of tissue; if it is high, structure
decides, over all frames of the video (curation/filters/tissue_structure.py). Neither knows skin that fills the frame, which is as red as
tissue; and one frame of a room in a video of the same grey, green or blue light is mostly taken for tissue. Text is another module's
business (curation/privacy/burned_text.py); outside the content area none reaches a frame pack, because everything there is black.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np

from curation.filters import frame_filters

__all__ = ["color_profile", "out_of_body_scores", "pixelated", "privacy_reasons", "smooth_scores"]

_LIT_VALUE = 50  # of 255; darker pixels have no dependable colour
_HIGHLIGHT_VALUE = 235  # brighter and colourless ones show the lamp
_PALE_SATURATION = 25  # of 255; less is grey
_VIVID_SATURATION = 45
_NUM_HUES = 36  # steps of ten degrees, red first
_WARM_HUES = np.array([step <= 4 or step >= 32 for step in range(_NUM_HUES)])
_PLAUSIBLE_HUES = (*range(9), *range(27, _NUM_HUES))
_HUE_REACH = 3


@functools.cache
def privacy_reasons() -> frozenset[str]:
    """Drop reasons that no later threshold takes back: pixels are stored in the private pack alone (curation/ingest/private_pack.py)."""
    by_score = {each.reason for each in frame_filters() if each.reason and each.is_private}
    return frozenset({*by_score, "out_of_body_unchecked", "text", "text_unchecked", "text_unaudited"})


def color_profile(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Which colours the well-lit part of a frame has.

    Args:
        rgb: [height, width, 3] uint8.
        mask: [height, width] uint8, 255 inside the content area.

    Returns:
        [2, 36] float32: shares of the lit pixels that are pale and vivid, by hue in steps of ten degrees; what is missing to 1 is grey.
        NaN where under 5% of the area is lit well enough to judge.
    """
    hue, saturation, value = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))
    highlight = cv2.bitwise_and(cv2.inRange(value, _HIGHLIGHT_VALUE, 255), cv2.inRange(saturation, 0, 40))
    lit = cv2.bitwise_and(cv2.bitwise_and(cv2.inRange(value, _LIT_VALUE, 255), mask), cv2.bitwise_not(highlight))
    num_lit = cv2.countNonZero(lit)
    if num_lit <= 0.05 * cv2.countNonZero(mask):
        return np.full((2, _NUM_HUES), np.nan, np.float32)
    planes = cv2.merge([hue, saturation])
    pale = cv2.calcHist([planes], [0, 1], lit, [_NUM_HUES, 1], [0, 180, _PALE_SATURATION, _VIVID_SATURATION])
    vivid = cv2.calcHist([planes], [0, 1], lit, [_NUM_HUES, 1], [0, 180, _VIVID_SATURATION, 256])
    return np.stack([pale[:, 0], vivid[:, 0]]) / np.float32(num_lit)


def out_of_body_scores(profiles: Sequence[np.ndarray]) -> np.ndarray:
    """How little of each frame of one video looks like the inside of a body.

    Tissue is what is warm and vivid: crimson, orange, yellow. Processors and narrow-band imaging shift that, but alike for the whole
    procedure; so colours near the video's own commonest hue count too, unless that is a green or blue that no tissue has.

    Args:
        profiles: from `color_profile`, of the frames in time order.

    Returns:
        [num_frames] from 0 (all tissue) to 1 (none of it); NaN where the frame is too dark to judge.
    """
    stack = np.stack(profiles).astype(np.float64)
    judged = ~np.isnan(stack[:, 0, 0])
    scores = np.full(len(stack), np.nan)
    if not judged.any():
        return scores
    typical = np.median(stack[judged], axis=0)
    by_hue = typical.sum(axis=0)
    common = int((np.roll(by_hue, 1) + by_hue + np.roll(by_hue, -1)).argmax())
    near = _near(common, _HUE_REACH)
    is_plausible = common in _PLAUSIBLE_HUES
    vivid = _WARM_HUES | (near if is_plausible else False)
    tissue = stack[:, 1][:, vivid].sum(axis=1)
    if is_plausible and typical[0][near].sum() > typical[1][near].sum():
        tissue += stack[:, 0][:, near].sum(axis=1)
    scores[judged] = np.clip(1 - tissue[judged], 0, 1)
    return scores


def smooth_scores(scores: Sequence[float] | np.ndarray, window: int) -> np.ndarray:
    """Raise each score to the median over `window` samples (an odd number) centred on it; NaNs are left out; NaN where all are: not known.

    The median carries a long segment over the odd frame inside it that looks harmless, or is too dark to judge. A single frame that
    scores high by itself stays high: losing it costs little, keeping it could show a person.
    """
    values = np.asarray(scores, np.float64)
    half = window // 2
    smoothed = np.full(len(values), np.nan)
    for position in range(len(values)):
        near = values[max(0, position - half) : position + half + 1]
        near = near[~np.isnan(near)]
        if len(near):
            smoothed[position] = np.median(near)
    return np.asarray(np.fmax(smoothed, values))


def _near(hue: int, reach: int) -> np.ndarray:
    """[36] bool: the hues up to `reach` steps around the circle from `hue`."""
    distance = np.abs(np.arange(_NUM_HUES) - hue)
    return np.asarray(np.minimum(distance, _NUM_HUES - distance) <= reach)


def pixelated(rgb: np.ndarray, num_columns: int) -> np.ndarray:
    """The picture in `num_columns` large pixels across, in its own size: enough to see why it was dropped, too little to know anyone."""
    height, width = rgb.shape[:2]
    coarse = (num_columns, max(1, round(num_columns * height / width)))
    return np.asarray(cv2.resize(cv2.resize(rgb, coarse, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_NEAREST))
