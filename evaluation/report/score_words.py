"""Scores as the pages have them: filters of the templates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from evaluation.intervals import Interval
from evaluation.report.score_columns import metric_name
from warehouse.records import Score

__all__ = ["SCORE_FILTERS"]

_IN_PIXELS = ("hd95",)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "none"


def _value(score: Score) -> str:
    return f"{score.value:.1f}" if score.metric in _IN_PIXELS and math.isfinite(score.value) else _number(score.value)


def _interval(score: Score | Interval) -> str:
    low, high = (score.ci_low, score.ci_high) if isinstance(score, Score) else (score.low, score.high)
    if math.isfinite(low) and math.isfinite(high):
        digits = 1 if isinstance(score, Score) and score.metric in _IN_PIXELS else 3
        return f"{low:.{digits}f} to {high:.{digits}f}"
    if isinstance(score, Score) and "range" in score.details:
        return f"draws {score.details['range']}"
    return (score.details.get("interval") if isinstance(score, Score) else score.method) or "no interval"


SCORE_FILTERS: Mapping[str, Callable[..., Any]] = {"number": _number, "value": _value, "interval": _interval, "metric": metric_name}
"""filters of templates by name"""
