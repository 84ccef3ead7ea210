"""Drop pale frames: a score of colourfulness, low is bad (Hasler and Suesstrunk 2003, "Measuring colourfulness in natural images")."""

from __future__ import annotations

import cv2
import numpy as np

from curation.filters import FrameFilter, Picture

__all__ = ["COLORFULNESS"]


def colorfulness(picture: Picture) -> float:
    """Spread of the opponent colours plus 0.3 of their mean: 0 for grey, about 15 for slightly and 80 for very colourful pictures."""
    red, green, blue = (channel.astype(np.float32) for channel in cv2.split(picture.rgb))
    mean_rg, spread_rg = cv2.meanStdDev(red - green, mask=picture.mask)
    mean_yb, spread_yb = cv2.meanStdDev((red + green) / 2 - blue, mask=picture.mask)
    return float(np.hypot(spread_rg, spread_yb).item() + 0.3 * np.hypot(mean_rg, mean_yb).item())


COLORFULNESS = FrameFilter(
    name="colorfulness",
    unit="colourfulness by Hasler and Suesstrunk, 0 for grey to about 100",
    score=colorfulness,
    bad="low",
    threshold=12.0,
    reason="pale",
)
