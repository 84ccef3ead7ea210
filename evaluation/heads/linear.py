"""Linear probe of frozen features: a grid of feature sets and regularisation, chosen on the validation split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from evaluation.heads.choice import validation_score
from evaluation.heads.head import Floats, HeadSettings, Ints, Labelled, VectorSets

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

__all__ = ["LinearProbe", "Scaler", "fit_linear", "fit_linear_probe", "fit_scaler", "load_linear"]

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scaler:
    """Mean and standard deviation of each feature over the training images; 1 for a feature that does not vary."""

    mean: Doubles
    """[D]"""
    scale: Doubles
    """[D]"""

    def __call__(self, features: Floats) -> Floats:
        """[N, D] to [N, D]."""
        scaled = features.astype(np.float32)  # a copy
        scaled -= self.mean
        scaled /= self.scale
        return scaled


def fit_scaler(features: Floats) -> Scaler:
    """The scaler of [N, D] training features."""
    from sklearn.preprocessing import StandardScaler  # here: scikit-learn loads for seconds, and most commands fit no probe

    found = StandardScaler().fit(features)
    return Scaler(np.asarray(found.mean_, np.float64), np.asarray(found.scale_, np.float64))


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """A linear classifier of one scaled feature set, the one that was best on the validation split."""

    feature_set: str
    regularization: float
    """inverse L2 strength, C; 0 if the classifier has none"""
    val_score: float
    num_tried: int
    scaler: Scaler
    weight: npt.NDArray[Any]
    """[C, D]"""
    bias: npt.NDArray[Any]
    """[C]; minus infinity for a class without training images"""
    details: dict[str, str]
    """what was chosen on the validation split"""

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor."""
        return {name: getattr(self, name) for name in ("feature_set", "regularization", "val_score", "num_tried", "details")}

    def probabilities(self, features: VectorSets) -> Floats:
        """[N, C] softmax of the linear scores."""
        scores = (self.scaler(features[self.feature_set]) @ self.weight.T + self.bias).astype(np.float64)
        raised = np.exp(scores - scores.max(1, keepdims=True))
        probabilities: Floats = (raised / raised.sum(1, keepdims=True)).astype(np.float32)
        return probabilities

    def predict(self, features: VectorSets) -> Ints:
        """Class indices [N] from the feature sets that the probe was fitted on."""
        return np.asarray(self.probabilities(features).argmax(1), np.int64)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Scaler, weights and biases."""
        arrays = {"mean": self.scaler.mean, "scale": self.scaler.scale, "weight": self.weight, "bias": self.bias}
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}


def load_linear(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any], device: torch.device) -> LinearProbe:
    """As it was fitted; it computes on the CPU whatever the device."""
    arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    return LinearProbe(scaler=Scaler(arrays["mean"], arrays["scale"]), weight=arrays["weight"], bias=arrays["bias"], **state)


def fit_linear(train: Labelled, val: Labelled, settings: HeadSettings) -> LinearProbe:
    """`fit_linear_probe` with the settings of an evaluation."""
    config = settings.config
    return fit_linear_probe(
        train.features,
        train.labels,
        val.features,
        val.labels,
        regularization=config.regularization,
        num_classes=settings.num_classes,
        metric=settings.metric,
        balanced=config.class_weight == "balanced",
        max_iterations=config.max_iterations,
    )


def fit_linear_probe(
    train: VectorSets,
    train_labels: Ints,
    val: VectorSets,
    val_labels: Ints,
    *,
    regularization: tuple[float, ...],
    num_classes: int,
    metric: str,
    balanced: bool = True,
    max_iterations: int = 200,
) -> LinearProbe:
    """Fit a multinomial logistic regression for every feature set and C on train; keep the best on val, the first of equals.

    DINOv2's grid over last and last-four blocks, with and without mean patch tokens (eval/linear.py there), with its learning-rate axis
    replaced by the L2 strength of a convex problem: no step size, no seed, the same answer every time. Training images of one class alone
    give a probe that always says that class.

    Args:
        train: feature sets by name, [N, D] each.
        train_labels: [N] class indices.
        val: the same feature sets of the validation split.
        val_labels: [M] class indices.
        regularization: values of C, on features scaled to unit variance.
        num_classes: C.
        metric: name in CLASSIFICATION_METRICS that decides.
        balanced: weigh classes by their inverse frequency.
        max_iterations: of L-BFGS.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    best: LinearProbe | None = None
    num_tried = len(train) * len(regularization)
    for name, features in train.items():
        scaler = fit_scaler(features)
        scaled = scaler(features)
        start: LogisticRegression | None = None
        for strength in sorted(regularization):
            if len(np.unique(train_labels)) == 1:
                weight, bias = _constant(int(train_labels[0]), num_classes=num_classes, dim=scaled.shape[1])
            else:
                model = LogisticRegression(
                    C=strength, class_weight="balanced" if balanced else None, max_iter=max_iterations, tol=1e-4, warm_start=True
                )
                if start is not None:  # from strong to weak, each fit starts where the last one ended
                    model.coef_, model.intercept_, model.classes_ = start.coef_.copy(), start.intercept_.copy(), start.classes_
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # separable features at a weak C: val decides whether that hurts
                    model.fit(scaled, train_labels)
                start = model
                weight, bias = _all_classes(model, num_classes=num_classes)
            probe = LinearProbe(name, strength, -1.0, num_tried, scaler, weight, bias, {})
            score = validation_score(val_labels, probe.predict(val), num_classes=num_classes, metric=metric)
            if best is None or score > best.val_score:
                details = {"features": name, "C": f"{strength:g}", "heads_tried": str(num_tried), f"val_{metric}": f"{score:.4f}"}
                best = LinearProbe(name, strength, score, num_tried, scaler, weight, bias, details)
    assert best is not None, "the grid is empty"
    return best


def _constant(label: int, *, num_classes: int, dim: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    bias = np.full(num_classes, -np.inf, np.float32)
    bias[label] = 0
    return np.zeros((num_classes, dim), np.float32), bias


def _all_classes(model: LogisticRegression, *, num_classes: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Weights [C, D] and biases [C] over all classes; scikit-learn gives one row for two classes, and none for a class without images."""
    coefficients, intercepts = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(coefficients) == 1:
        coefficients, intercepts = np.concatenate([0 * coefficients, coefficients]), np.concatenate([0 * intercepts, intercepts])
    weight = np.zeros((num_classes, coefficients.shape[1]), coefficients.dtype)
    bias = np.full(num_classes, -np.inf, intercepts.dtype)
    present = np.asarray(model.classes_, dtype=np.int64)
    weight[present], bias[present] = coefficients, intercepts
    return weight, bias
