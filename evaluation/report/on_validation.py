"""Which head the validation split chose: the one whose numbers a page shows first."""

from __future__ import annotations

import math

from warehouse.records import Score

__all__ = ["on_validation", "primary_metric"]

_COUNT = "val_images"
_VALUE = "val_"


def on_validation(score: Score) -> float:
    """The value of the score's head on the validation split; minus infinity where it is not known.

    It is that of the score's own metric if the head was chosen by it, else that of the metric which chose.
    """
    of_primary = score.details.get(f"{_VALUE}{primary_metric(score)}", "nan")
    value = float(score.details.get(f"{_VALUE}{score.metric}", of_primary))
    return value if math.isfinite(value) else -math.inf


def primary_metric(score: Score) -> str:
    """The metric by which the score's head was chosen; empty where it is not known."""
    names = (name for name in score.details if name.startswith(_VALUE) and name != _COUNT)
    return next(names, _VALUE).removeprefix(_VALUE)
