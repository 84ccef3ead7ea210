"""Linear probe of frozen features: a grid of feature sets and regularisation, chosen on the validation split."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evaluation.metrics import CLASSIFICATION_METRICS, confusion_matrices

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

__all__ = ["LinearProbe", "fit_linear_probe"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """The probe that was best on the validation split."""

    feature_set: str
    regularization: float
    """inverse L2 strength, C"""
    val_score: float
    num_tried: int
    scaler: StandardScaler
    model: LogisticRegression

    def predict(self, features: dict[str, Floats]) -> Ints:
        """Class indices [N] from the feature sets that the probe was fitted on."""
        return np.asarray(self.model.predict(self.scaler.transform(features[self.feature_set])), dtype=np.int64)


def fit_linear_probe(
    train: dict[str, Floats],
    train_labels: Ints,
    val: dict[str, Floats],
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
    replaced by the L2 strength of a convex problem: no step size, no seed, the same answer every time.

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
    from sklearn.exceptions import ConvergenceWarning  # here: scikit-learn loads for seconds, and most commands fit no probe
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    best: LinearProbe | None = None
    one_group = np.zeros(len(val_labels), dtype=np.int64)
    for name, features in train.items():
        scaler = StandardScaler().fit(features)
        scaled, scaled_val = scaler.transform(features), scaler.transform(val[name])
        start: LogisticRegression | None = None
        for strength in sorted(regularization):
            model = LogisticRegression(
                C=strength, class_weight="balanced" if balanced else None, max_iter=max_iterations, tol=1e-4, warm_start=True
            )
            if start is not None:  # from strong to weak, each fit starts where the last one ended
                model.coef_, model.intercept_, model.classes_ = start.coef_.copy(), start.intercept_.copy(), start.classes_
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # separable features at a weak C: val decides whether that hurts
                model.fit(scaled, train_labels)
            start = model
            predicted = np.asarray(model.predict(scaled_val), dtype=np.int64)
            confusion = confusion_matrices(val_labels, predicted, one_group, num_classes=num_classes)[0]
            score = float(np.nan_to_num(CLASSIFICATION_METRICS[metric](confusion), nan=-1.0))
            if best is None or score > best.val_score:
                best = LinearProbe(name, strength, score, len(train) * len(regularization), scaler, model)
    assert best is not None, "the grid is empty"
    return best
