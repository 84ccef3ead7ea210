"""Ordinal regression of frozen features: cumulative link with a logit, proportional odds (McCullagh 1980).

One direction w for all grades and a rising threshold between neighbours: P(grade <= k) = sigmoid(threshold_k - w.x). A nominal classifier
has a direction a grade, and treats a grade of two as no nearer to one than to three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evaluation.heads.choice import validation_score
from evaluation.heads.head import Floats, HeadSettings, Ints, Labelled, VectorSets
from evaluation.heads.linear import Scaler, fit_scaler

__all__ = ["CumulativeLink", "cumulative_probabilities", "fit_ordinal", "fit_proportional_odds", "load_ordinal"]

Doubles = npt.NDArray[np.float64]

_SMALLEST = 1e-12


@dataclass(frozen=True, slots=True)
class CumulativeLink:
    """The feature set and C that were best on the validation split."""

    feature_set: str
    scaler: Scaler
    direction: Doubles
    """[D]"""
    thresholds: Doubles
    """[P - 1] of the grades that occur in training, rising"""
    present: Ints
    """[P] indices of those grades"""
    num_classes: int
    details: dict[str, str]

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor."""
        return {"feature_set": self.feature_set, "num_classes": self.num_classes, "details": self.details}

    def probabilities(self, features: VectorSets) -> Floats:
        """[N, C]; 0 for a grade without training images."""
        scores = self.scaler(features[self.feature_set]).astype(np.float64) @ self.direction
        found = np.zeros((len(scores), self.num_classes), np.float32)
        found[:, self.present] = cumulative_probabilities(scores, self.thresholds)
        return found

    def tensors(self) -> dict[str, torch.Tensor]:
        """Scaler, direction, thresholds and grades."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "mean": self.scaler.mean,
            "scale": self.scaler.scale,
            "direction": self.direction,
            "thresholds": self.thresholds,
            "present": self.present,
        }
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}


def load_ordinal(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any], device: torch.device) -> CumulativeLink:
    """As it was fitted; it computes on the CPU whatever the device."""
    arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    scaler = Scaler(arrays["mean"], arrays["scale"])
    return CumulativeLink(scaler=scaler, direction=arrays["direction"], thresholds=arrays["thresholds"], present=arrays["present"], **state)


def fit_ordinal(train: Labelled, val: Labelled, settings: HeadSettings) -> CumulativeLink:
    """Fit every feature set x C on train; keep the best on val, the first of equals."""
    config = settings.config
    present = np.unique(train.labels)
    grades = np.searchsorted(present, train.labels).astype(np.int64)
    emphasis = np.ones(len(grades))
    if config.class_weight == "balanced":
        emphasis = len(grades) / (len(present) * np.bincount(grades)[grades])
    num_tried = len(train.features) * len(config.regularization)
    best: tuple[float, CumulativeLink] | None = None
    for name, features in train.features.items():
        scaler = fit_scaler(features)
        scaled = scaler(features).astype(np.float64)
        start: Doubles | None = None
        for strength in sorted(config.regularization):
            start = _fitted(scaled, grades, emphasis, len(present), strength, config.max_iterations, start)
            direction, thresholds = _unpacked(start, scaled.shape[1])
            head = CumulativeLink(name, scaler, direction, thresholds, present, settings.num_classes, {})
            predictions = head.probabilities(val.features).argmax(1).astype(np.int64)
            score = validation_score(val.labels, predictions, num_classes=settings.num_classes, metric=settings.metric)
            if best is None or score > best[0]:
                details = {
                    "features": name,
                    "C": f"{strength:g}",
                    "heads_tried": str(num_tried),
                    "link": "logit",
                    f"val_{settings.metric}": f"{score:.4f}",
                }
                best = score, CumulativeLink(name, scaler, direction, thresholds, present, settings.num_classes, details)
    assert best is not None, "the grid is empty"
    return best[1]


def fit_proportional_odds(
    features: Doubles, grades: Ints, *, strength: float, emphasis: Doubles | None = None, max_iterations: int = 1000
) -> tuple[Doubles, Doubles]:
    """Direction [D] and thresholds [K - 1] that minimise C x the summed negative log-likelihood + half the squared length of the direction.

    Args:
        features: [N, D].
        grades: [N] from 0 to K - 1, each of which occurs.
        strength: C, as scikit-learn's logistic regression has it.
        emphasis: [N] weights of the images; 1 unless given.
        max_iterations: of L-BFGS.
    """
    weights = np.ones(len(grades)) if emphasis is None else emphasis
    found = _fitted(features, grades, weights, int(grades.max()) + 1, strength, max_iterations, None)
    return _unpacked(found, features.shape[1])


def cumulative_probabilities(scores: Doubles, thresholds: Doubles) -> Doubles:
    """[N, K] probabilities of grades from [N] scores and [K - 1] rising thresholds."""
    below = _sigmoid(thresholds[None] - scores[:, None])
    ends = np.zeros((len(scores), 1)), np.ones((len(scores), 1))
    return np.diff(np.concatenate([ends[0], below, ends[1]], axis=1), axis=1)


def _fitted(
    features: Doubles, grades: Ints, emphasis: Doubles, num_grades: int, strength: float, max_iterations: int, start: Doubles | None
) -> Doubles:
    """Parameters [D + K - 1]: the direction, the first threshold, and the logarithms of the steps from each threshold to the next."""
    from scipy.optimize import minimize

    dim = features.shape[1]
    if num_grades < 2:
        return np.zeros(dim)
    if start is None:
        shares = np.cumsum(np.bincount(grades, emphasis, num_grades))[:-1] / emphasis.sum()
        first = np.log(shares / (1 - shares))
        start = np.concatenate([np.zeros(dim), first[:1], np.log(np.maximum(np.diff(first), 1e-3))])
    arguments = (features, grades, emphasis, strength)
    found = minimize(_loss, start, args=arguments, jac=True, method="L-BFGS-B", options={"maxiter": max_iterations, "gtol": 1e-6})
    return np.asarray(found.x, np.float64)


def _loss(parameters: Doubles, features: Doubles, grades: Ints, emphasis: Doubles, strength: float) -> tuple[float, Doubles]:
    """Weighted mean negative log-likelihood + the L2 term over C x the summed weights, and its gradient."""
    dim, total = features.shape[1], emphasis.sum()
    direction, thresholds = _unpacked(parameters, dim)
    ends = np.concatenate([[-np.inf], thresholds, [np.inf]])
    scores = features @ direction
    upper, lower = ends[grades + 1] - scores, ends[grades] - scores
    gap = np.maximum(-np.expm1(lower - upper), _SMALLEST)  # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u))
    likelihood = _log_sigmoid(upper) + _log_sigmoid(-lower) + np.log(gap)
    ratio = np.exp(lower - upper) / gap
    d_upper, d_lower = emphasis * (_sigmoid(-upper) + ratio), -emphasis * (_sigmoid(lower) + ratio)
    d_direction = -features.T @ (d_upper + d_lower)
    d_ends = np.bincount(grades + 1, d_upper, len(ends)) + np.bincount(grades, d_lower, len(ends))
    d_thresholds = d_ends[1:-1]
    d_steps = np.cumsum(d_thresholds[::-1])[::-1][1:] * np.exp(parameters[dim + 1 :])
    gradient = -np.concatenate([d_direction, [d_thresholds.sum()], d_steps]) / total
    gradient[:dim] += direction / (strength * total)
    value = -(emphasis @ likelihood) / total + direction @ direction / (2 * strength * total)
    return float(value), gradient


def _unpacked(parameters: Doubles, dim: int) -> tuple[Doubles, Doubles]:
    first, steps = parameters[dim : dim + 1], np.exp(parameters[dim + 1 :])
    return parameters[:dim], np.cumsum(np.concatenate([first, steps]))


def _sigmoid(values: Doubles) -> Doubles:
    return 0.5 * (1 + np.tanh(0.5 * values))


def _log_sigmoid(values: Doubles) -> Doubles:
    return -np.logaddexp(0.0, -values)
