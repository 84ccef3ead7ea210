"""How open the labels that there are leave the class of other images: the margin of a linear probe."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["label_uncertainty"]

REGULARIZATION = 1e-2
"""inverse L2 strength on features of unit variance; no split is spared from a few labels to choose one"""

MAX_ITERATIONS = 200

Floats = npt.NDArray[np.float32]


def label_uncertainty(labelled: Floats, labels: Sequence[str], vectors: Floats) -> npt.NDArray[np.float64] | None:
    """1 less the difference of the two largest class probabilities of a logistic regression, classes weighted by inverse frequency.

    Args:
        labelled: (n, d) features with a label.
        labels: (n,) their classes.
        vectors: (m, d) features to judge, whose variance the features are scaled by.

    Returns:
        (m,) from 0 (sure) to 1 (two classes are equally likely); None where the labels are of fewer than two classes.

    Raises:
        ValueError: there are not as many labels as labelled features.
    """
    if len(labels) != len(labelled):
        raise ValueError(f"{len(labels)} labels are given for {len(labelled)} features; give one each")
    if len(set(labels)) < 2 or not len(vectors):
        return None
    from sklearn.exceptions import ConvergenceWarning  # here: scikit-learn loads for seconds, and a first round has no labels
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(vectors)
    model = LogisticRegression(C=REGULARIZATION, class_weight="balanced", max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scaler.transform(labelled), np.asarray(labels))
    largest = np.sort(model.predict_proba(scaler.transform(vectors)), axis=1)[:, -2:]
    margin: npt.NDArray[np.float64] = 1.0 - (largest[:, 1] - largest[:, 0])
    return margin
