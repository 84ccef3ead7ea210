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

__all__ = ["SURELY_ROOM", "room_evidence", "room_scores", "structure_features"]

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
SURELY_ROOM = 5.5
"""Evidence from which a frame shows a room though its colours are those of tissue: rooms can be warm (lit wood, paper, faces).

The largest of 1,612 stills of tissue (Kvasir-SEG, CVC-ClinicDB) and of 36 clips was 3.6, of sharp phantom frames under text 5.0.
"""
# Chosen on the fit half of bench_out_of_body.py: at most 2.0% of tissue lost alone, inserted and in stays, as video and as stills.
_CONFIDENCE = 0.6  # views of one place say the same thing partly twice
_TISSUE_ENDS = -1.75  # evidence that favours neither
_STAYS = 0.8  # chance that a sample shows the place of the one a second before for that reason alone
_REFERENCE_S = 1.0  # longer steps count as one: 0.8 ** 5 at .2 fps loses up to 2.5% of tissue instead of 1.1%
_LEAST_SHARE = 0.05  # of rooms, and of tissue, in any video
_TISSUE_ASSUMED = 1  # frames added to those seen: without it 16% of single stills of tissue are lost in the worst mode, with it 5%
_MOST_EVIDENCE = 8.0
_NUM_ROUNDS = 10
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
    gradient = gx[here] + 1j * gy[here]
    slope = np.abs(gradient)
    p25, p50, p90, p99 = np.percentile(slope, [25, 50, 90, 99]) + 1e-4
    squared = gradient * gradient
    quarter_turns = np.abs((squared * squared / np.maximum(slope, 1e-9) ** 3).sum()) / max(float(slope.sum()), 1e-6)
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
            np.cbrt((scaled * scaled * scaled).mean()),
            (scaled * scaled * scaled * scaled).mean() ** 0.25,
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
    """Log-odds that a frame shows a room, at even prior odds; NaN for NaN features.

    Args:
        features: from `structure_features`.
    """
    return float(features @ np.array(list(_WEIGHTS.values())) + _INTERCEPT)


def room_scores(
    evidence: Sequence[float] | np.ndarray,
    has_tissue_colors: Sequence[bool] | np.ndarray,
    *,
    times_s: Sequence[float] | np.ndarray | None = None,
) -> np.ndarray:
    """Probability of each frame of one video to show a room, 0 to 1; 1 where there is no evidence.

    One frame of tissue may look like a room by chance; a whole video seldom does, nor do several seconds in a row. So the share of rooms is
    estimated from all frames, and neighbours support each other. That is a two-state hidden Markov model; expectation maximization fits the
    share. The model counts time, not frames: those less than a second apart count as parts of one. Stills have no neighbours; they have the
    share in common. A frame with the colours of tissue never speaks for a room: in phantom tissue of unusual hues that would cost frames
    whose colours are in doubt.

    Args:
        evidence: from `room_evidence`, [num_frames] in time order, NaN where it was not measured.
        has_tissue_colors: [num_frames], whether colours alone would keep the frame.
        times_s: [num_frames] presentation times in seconds, rising; None for stills, which have none.
    """
    measured = np.asarray(evidence, np.float64)
    known, cleared = ~np.isnan(measured), np.asarray(has_tissue_colors, bool)
    scores = np.ones(len(measured))
    if not known.any():
        return scores
    told = np.where(known, measured, _TISSUE_ENDS)
    told = np.where(cleared, np.minimum(told, _TISSUE_ENDS), told)
    steps = np.ones(max(0, len(measured) - 1)) if times_s is None else np.clip(np.diff(times_s) / _REFERENCE_S, 0, 1)
    weights, stays = _weights(steps), np.zeros_like(steps) if times_s is None else _STAYS**steps
    ratios = np.exp(_CONFIDENCE * weights * (np.clip(told, -_MOST_EVIDENCE, _MOST_EVIDENCE) - _TISSUE_ENDS))
    share = 0.5
    for _ in range(_NUM_ROUNDS):
        rooms = _posterior(ratios, share, stays)
        seen = float((weights * rooms)[known & ~cleared].sum()) / (float(weights[known].sum()) + _TISSUE_ASSUMED)
        share = float(np.clip(seen, _LEAST_SHARE, 1 - _LEAST_SHARE))
    scores[known] = rooms[known]
    return scores


def _weights(steps: np.ndarray) -> np.ndarray:
    """How much each frame counts, 0 to 1: half the step before it and half the step after it.

    Together that is one, and one more for each reference step that the frames span.

    Args:
        steps: [num_frames - 1] between frames, in reference steps, 0 to 1.
    """
    halves = np.concatenate([[1.0], steps, [1.0]]) / 2
    return np.asarray(halves[:-1] + halves[1:])


def _posterior(ratios: np.ndarray, share: float, stays: np.ndarray) -> np.ndarray:
    """Probability of a room at each frame, by all frames of a two-state hidden Markov model.

    Args:
        ratios: [num_frames] likelihood of each frame in a room over that in tissue.
        share: of rooms.
        stays: [num_frames - 1] chance that a frame takes its state from the one before; otherwise it is drawn by `share`.
    """
    own, kept = ratios.tolist(), stays.tolist()
    before = [share]  # probability of a room by the frames before
    for ratio, stay in zip(own, kept, strict=False):  # the last frame has none after it
        room = before[-1] * ratio / (before[-1] * ratio + 1 - before[-1])
        before.append(stay * room + (1 - stay) * share)
    after = [1.0]  # likelihood ratio of the frames after
    for ratio, stay in zip(own[:0:-1], kept[::-1], strict=True):
        told = ratio * after[-1]
        from_room, from_tissue = stay + (1 - stay) * share, (1 - stay) * share
        after.append((from_room * told + 1 - from_room) / (from_tissue * told + 1 - from_tissue))
    prior = np.array(before)
    odds = prior / (1 - prior) * ratios * np.array(after[::-1])
    return np.asarray(odds / (1 + odds))
