"""How much the luma of a frame is built like a room or like tissue, whatever its colour.

Tissue seen by an endoscope is round and smooth, is lit by one lamp beside the lens, and has small highlights; rooms have straight edges
in two directions at right angles, flat walls, and dark lines as often as bright spots. Colour plays no part, so that dye, narrow bands,
fluorescence and grey pictures are judged like white light.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np

__all__ = ["room_evidence", "room_scores", "structure_features"]

# Logistic regression of rooms (71 photographs, screens and paintings, each treated in 11 ways, and phantom rooms) against tissue (250
# Kvasir-SEG and 150 CVC-ClinicDB pictures and phantom frames in grey, green, blue and dim luma), with noise and blur added to both alike.
# Kvasir-SEG and CVC-ClinicDB are for research and education only; these numbers are facts about them.
_WEIGHTS = {
    "steepest over median slope": 0.1790,
    "steep over gentle slopes": 1.7253,
    "mean slope": -0.2306,
    "coherence near": 1.8770,
    "coherence wide": -5.3777,
    "directions at right angles": 12.3768,
    "finest over next scale": 0.1761,
    "that over the third scale": 0.9054,
    "curvature of the fall-off": -1.8151,
    "share of contrast in the fall-off": -3.3423,
    "contrast of the fall-off": -7.3921,
    "skew of the Laplacian": 2.9202,
    "kurtosis of the Laplacian": -4.2111,
    "bright spots over dark ones": 4.6676,
}
_INTERCEPT = 8.5597
NUM_FEATURES = len(_WEIGHTS)
_LEAST_POOLED = 3  # frames of one imaging mode
_POOL_REACH = (-2.5, 3.0)  # how far a mode's frames together move one of them
_DECISION_SHIFT = 0.153  # the default threshold of 0.3 then lies at an evidence of -1
_LEAST_LUMA = 20  # of 255; darker pixels are border, lumen or noise
_LEAST_LIT = 0.05  # share of the mask


def structure_features(gray: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Numbers about edges, contrast and light fall-off of a frame scaled to `FILTER_WIDTH`.

    Args:
        gray: [height, width] uint8 luma.
        mask: [height, width] uint8, 255 inside the content area.

    Returns:
        [14] float64, in the order of `_WEIGHTS`; NaN if under 5% of the area is lit.
    """
    half = (gray.shape[1] // 2, gray.shape[0] // 2)
    small = cv2.GaussianBlur(cv2.resize(gray, half, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    inside = cv2.resize(mask, half, interpolation=cv2.INTER_NEAREST)
    lit = cv2.erode(cv2.bitwise_and(cv2.inRange(small, _LEAST_LUMA, 255), inside), np.ones((5, 5), np.uint8))
    if cv2.countNonZero(lit) <= _LEAST_LIT * max(1, cv2.countNonZero(inside)):
        return np.full(NUM_FEATURES, np.nan)
    here = lit > 0
    log = np.log(small.astype(np.float32) + 8)
    gx, gy = (cv2.Sobel(log, cv2.CV_32F, *order) / 8 for order in ((1, 0), (0, 1)))
    slope = np.sqrt(gx * gx + gy * gy)[here]
    p25, p50, p90, p99 = np.percentile(slope, [25, 50, 90, 99]) + 1e-4
    quarter_turns = np.abs((slope * np.exp(4j * np.arctan2(gy[here], gx[here]))).sum()) / max(float(slope.sum()), 1e-6)
    blurred = [log, *(cv2.GaussianBlur(log, (0, 0), sigma) for sigma in (1.5, 3, 6))]
    bands = [np.log(((fine - coarse)[here] ** 2).mean() + 1e-7) for fine, coarse in itertools.pairwise(blurred)]
    laplacian = cv2.Laplacian(small, cv2.CV_32F)[here]
    scaled = (laplacian - laplacian.mean()) / (laplacian.std() + 1e-3)
    kernel = np.ones((5, 5), np.uint8)
    bright, dark = (cv2.morphologyEx(small, kind, kernel)[here].mean() + 0.5 for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT))
    return np.array(
        [
            np.log(p99 / p50),
            np.log(p90 / p25),
            np.log(slope.mean() + 1e-4),
            _coherence(gx, gy, here, 1.5),
            _coherence(gx, gy, here, 6.0),
            quarter_turns,
            bands[0] - bands[1],
            bands[1] - bands[2],
            *_falloff(blurred[2], here),
            np.cbrt((scaled**3).mean()),
            (scaled**4).mean() ** 0.25,
            np.log(bright / dark),
        ]
    )


def _coherence(gx: np.ndarray, gy: np.ndarray, here: np.ndarray, sigma: float) -> float:
    """How far the gradients within `sigma` pixels run in one direction, 0 (no direction) to 1 (straight lines)."""
    weight = here.astype(np.float32)
    xx, yy, xy = (cv2.GaussianBlur(product * weight, (0, 0), sigma) for product in (gx * gx, gy * gy, gx * gy))
    return float(np.sqrt((xx - yy) ** 2 + 4 * xy * xy).sum() / max(float((xx + yy).sum()), 1e-6))


def _falloff(log: np.ndarray, here: np.ndarray) -> tuple[float, float, float]:
    """Curvature of the quadratic surface fitted to log luma, the share of variance it explains, and the standard deviation."""
    rows, columns = np.mgrid[: log.shape[0] : 4, : log.shape[1] : 4]
    chosen = here[::4, ::4]
    if chosen.sum() < 12:
        return 0.0, 0.0, 0.0
    x, y, z = (columns / log.shape[1] * 2 - 1)[chosen], (rows / log.shape[0] * 2 - 1)[chosen], log[::4, ::4][chosen].astype(np.float64)
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    factors, *_ = np.linalg.lstsq(terms, z, rcond=None)
    rest = z - terms @ factors
    return float(factors[3] + factors[4]), float(1 - rest.var() / (z.var() + 1e-6)), float(z.std())


def room_evidence(features: np.ndarray) -> float:
    """Log-odds that features from `structure_features` are those of a room, at even prior odds; NaN for NaN features."""
    return float(features @ np.array(list(_WEIGHTS.values())) + _INTERCEPT)


def room_scores(evidence: Sequence[float], modes: Sequence[str]) -> np.ndarray:
    """How much each frame of one video looks like a room by structure, 0 to 1; 1 where there is no evidence.

    Frames of one imaging mode support each other: their mean is added to each, because one frame of tissue may look like a room by chance.

    Args:
        evidence: from `room_evidence`, [num_frames], NaN where it was not measured.
        modes: imaging mode of each frame.
    """
    own = np.asarray(evidence, np.float64)
    known = ~np.isnan(own)
    total = own.copy()
    for mode in set(modes):
        here = known & (np.asarray(modes) == mode)
        if here.sum() >= _LEAST_POOLED:
            total[here] += np.clip(np.clip(own[here], -6, 6).mean(), *_POOL_REACH)
    scores = np.ones(len(own))
    scores[known] = 1 / (1 + np.exp(-np.clip(total[known] + _DECISION_SHIFT, -50, 50)))
    return scores
