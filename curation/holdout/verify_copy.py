"""Whether one picture shows the same moment as another: local features that agree on one similarity transform, then the pixels under it.

Embeddings and hashes of endoscopic pictures lie close together, for one stretch of mucosa looks much like the next. What sets a copy apart
is that its vessels, folds and highlights stand in the same places. So SIFT keypoints (Lowe 2004) are matched by the ratio test, a
similarity transform is fitted to them by RANSAC, and the reference, laid over the candidate by it, must correlate with it where both show
something. The correlation is of local detail over local contrast, which brightness, contrast and colour leave alone.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np

__all__ = ["CopyEvidence", "Features", "compare", "features_of", "flipped", "picture_correlation", "remembered_features"]

_SIDE = 256
_NUM_KEYPOINTS = 400
_CONTRAST = 0.012  # a third of Lowe's threshold: mucosa has little contrast
_RATIO = 0.85
_MAX_SHIFT_PX = 4.0
_TWICE_OFF = 0.5  # OpenCV doubles the picture first, and gives places a quarter of a pixel too far right and down
_LEAST_OVERLAP = 0.15  # of the candidate's content
_DARK = 12  # of 255; darker is border, blacked-out text or a lumen that shows nothing
_BLUR_PX, _CONTRAST_PX = 12, 12


@dataclass(frozen=True, slots=True)
class Features:
    """What is needed of a picture to compare it."""

    detail: np.ndarray
    """[height, width] float32: luma without its local mean, over its local deviation"""
    visible: np.ndarray
    """[height, width] uint8, 0 where nothing is to be seen"""
    points: np.ndarray
    """[n, 2] float32 in pixels of `detail`"""
    descriptors: np.ndarray
    """[n, 128] float32, square roots of L1-normalised SIFT (Arandjelovic and Zisserman 2012)"""


@dataclass(frozen=True, slots=True)
class CopyEvidence:
    """How well a reference explains a candidate."""

    num_inliers: int
    """keypoints that agree on the transform"""
    correlation: float
    """of local detail where both show something, -1 to 1; 0 where too little overlaps"""


def features_of(rgb: np.ndarray) -> Features:
    """Features of a [height, width, 3] uint8 picture, at `_SIDE` pixels on its longer side."""
    scale = _SIDE / max(rgb.shape[:2])
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    gray = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), cv2.COLOR_RGB2GRAY)
    visible = cv2.erode((gray > _DARK).astype(np.uint8) * 255, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_REPLICATE)
    flat = gray.astype(np.float32)
    weight = visible.astype(np.float32) / 255
    mean = _local_mean(flat, weight, _BLUR_PX)
    detail = flat - mean
    deviation = np.sqrt(_local_mean(detail * detail, weight, _CONTRAST_PX))
    detail = np.clip(detail / (deviation + 2), -2, 2) * weight
    even = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(gray)
    keypoints, descriptors = cv2.SIFT.create(nfeatures=_NUM_KEYPOINTS, contrastThreshold=_CONTRAST).detectAndCompute(even, visible)
    if descriptors is None:
        return Features(detail, visible, np.empty((0, 2), np.float32), np.empty((0, 128), np.float32))
    points = np.array([keypoint.pt for keypoint in keypoints], np.float32)
    return Features(detail, visible, points, np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)))


def compare(candidate: Features, reference: Features) -> CopyEvidence:
    """Lay the reference over the candidate and see how well it fits."""
    best = CopyEvidence(0, 0.0)
    fitted = _fit(reference, candidate)
    if fitted is not None:
        transform, num_inliers = fitted
        best = CopyEvidence(num_inliers, _correlation(candidate, reference, transform))
    if best.correlation < 0.5:  # smooth mucosa has few keypoints; most copies show the same part
        height, width = candidate.detail.shape
        own_height, own_width = reference.detail.shape
        same = np.array([[width / own_width, 0, 0], [0, height / own_height, 0]], np.float32)
        straight = _correlation(candidate, reference, same)
        if straight > best.correlation:
            best = CopyEvidence(best.num_inliers, straight)
    return best


def picture_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two [height, width, 3] uint8 pictures, the first laid over the second; from 0.4 on they are copies."""
    return compare(remembered_features(second), remembered_features(first)).correlation


def flipped(features: Features, code: int) -> Features:
    """Features of the picture flipped by OpenCV's code 1 (mirrored), 0 (upside down) or -1 (turned), without a new search for keypoints.

    A descriptor stands along its keypoint's own direction: half a turn leaves it as it is, and a mirror swaps its rows, of 4, and the signs
    of its directions, of 8.
    """
    height, width = features.detail.shape
    points = features.points.copy()
    if code in (1, -1):
        points[:, 0] = width - 1 + _TWICE_OFF - points[:, 0]
    if code in (0, -1):
        points[:, 1] = height - 1 + _TWICE_OFF - points[:, 1]
    descriptors = features.descriptors
    if code != -1:
        descriptors = descriptors.reshape(-1, 4, 4, 8)[:, ::-1, :, -np.arange(8) % 8].reshape(-1, 128)
    return Features(np.asarray(cv2.flip(features.detail, code)), np.asarray(cv2.flip(features.visible, code)), points, descriptors)


def remembered_features(rgb: np.ndarray) -> Features:
    """Features, kept of the last pictures: whoever looks through a set looks at some of them often."""
    key = hashlib.sha256(rgb.data if rgb.flags.c_contiguous else rgb.tobytes()).digest() + str(rgb.shape).encode()
    with _LOCK:
        kept = _KEPT.get(key)
        if kept is not None:
            _KEPT.move_to_end(key)
    if kept is None:
        kept = _packed(features_of(rgb))
        with _LOCK:
            _KEPT[key] = kept
            if len(_KEPT) > _MOST_KEPT:
                _KEPT.popitem(last=False)
    return _unpacked(kept)


_MOST_KEPT = 1536
"""pictures whose features are kept, at 0.25 MB each"""

_STEPS = np.float32(16000)
_STEP = np.float32(1 / 16000)
_KEPT: OrderedDict[bytes, Features] = OrderedDict()
_LOCK = Lock()


def _packed(features: Features) -> Features:
    """In less than half the memory: 16-bit integers, which NumPy turns back faster than half precision, and bits for visible pixels.

    Detail lies within -2 and 2, and descriptors within 0 and 1.
    """
    detail, descriptors = (np.rint(values * _STEPS).astype(np.int16) for values in (features.detail, features.descriptors))
    return Features(detail, np.packbits(features.visible > 0, axis=1), features.points, descriptors)


def _unpacked(kept: Features) -> Features:
    detail, descriptors = (np.multiply(values, _STEP, dtype=np.float32) for values in (kept.detail, kept.descriptors))
    visible = np.unpackbits(kept.visible, axis=1, count=kept.detail.shape[1]) * np.uint8(255)
    return Features(detail, visible, kept.points, descriptors)


def _fit(source: Features, target: Features) -> tuple[np.ndarray, int] | None:
    if min(len(source.points), len(target.points)) < 4:
        return None
    similarity = source.descriptors @ target.descriptors.T
    distance = np.sqrt(np.maximum(2 - 2 * similarity, 0))
    nearest = distance.argmin(axis=1)
    pairs = np.arange(len(nearest))
    ordered = np.partition(distance, 1, axis=1)
    good = (ordered[:, 0] < _RATIO * ordered[:, 1]) & (distance.argmin(axis=0)[nearest] == pairs)
    if good.sum() < 4:
        return None
    cv2.setRNGSeed(0)
    transform, inliers = cv2.estimateAffinePartial2D(
        source.points[good], target.points[nearest[good]], method=cv2.RANSAC, ransacReprojThreshold=_MAX_SHIFT_PX, maxIters=500
    )
    if transform is None:
        return None
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    return (transform, int(inliers.sum())) if 0.3 <= scale <= 3.5 else None


def _correlation(candidate: Features, reference: Features, transform: np.ndarray) -> float:
    size = candidate.detail.shape[::-1]
    laid = cv2.warpAffine(reference.detail, transform, size, flags=cv2.INTER_LINEAR)
    both = (cv2.warpAffine(reference.visible, transform, size, flags=cv2.INTER_NEAREST) > 0) & (candidate.visible > 0)
    if both.sum() < max(64, _LEAST_OVERLAP * np.count_nonzero(candidate.visible)):
        return 0.0
    one, other = candidate.detail[both], laid[both]
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / norm if norm > 0 else 0.0


def _local_mean(values: np.ndarray, weight: np.ndarray, radius: int) -> np.ndarray:
    total = cv2.GaussianBlur(values * weight, (0, 0), radius / 2)
    return np.asarray(total / np.maximum(cv2.GaussianBlur(weight, (0, 0), radius / 2), 1e-3))
