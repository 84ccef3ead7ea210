"""The validation score by which a head chooses among what it tried."""

from __future__ import annotations

import numpy as np

from evaluation.heads.head import Ints
from evaluation.metrics import CLASSIFICATION_METRICS, confusion_matrices

__all__ = ["validation_score"]


def validation_score(labels: Ints, predictions: Ints, *, num_classes: int, metric: str) -> float:
    """The metric of [N] predictions; -1 if it is not defined, such as kappa of a split with one grade."""
    one_group = np.zeros(len(labels), dtype=np.int64)
    confusion = confusion_matrices(labels, predictions, one_group, num_classes=num_classes)[0]
    return float(np.nan_to_num(CLASSIFICATION_METRICS[metric](confusion), nan=-1.0))
