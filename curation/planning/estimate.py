"""A figure with its uncertainty: the factor by which it may be too small or too large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate", "combined", "ratio_of_sample", "total_of_sample"]

_WORST = 10.0
_UNKNOWN = 3.0
"""Factor for a figure of one observation."""
_SIGMAS = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A positive figure."""

    value: float
    factor: float = 1.0
    """from value / factor to value * factor it is expected to lie, in 95 of 100 cases where a sample tells it; 1 if it is known"""
    source: str = ""
    """where it is from"""

    @property
    def low(self) -> float:
        """Lower end."""
        return self.value / self.factor

    @property
    def high(self) -> float:
        """Upper end."""
        return self.value * self.factor


def combined(*factors: float) -> float:
    """The factor of a product of independent figures."""
    return math.exp(math.sqrt(sum(math.log(factor) ** 2 for factor in factors)))


def total_of_sample(values: Sequence[float], sizes: Sequence[float], *, count: int, total_size: float) -> Estimate:
    """The sum over all things of a value that is known of some, drawn at random.

    The mean times the number, or the value by size times the total size, whichever the sample says is the surer.

    Args:
        values: of the sample.
        sizes: of the sample, known of all things.
        count: of all things.
        total_size: of all things.
    """
    drawn, of_size = np.asarray(values, float), np.asarray(sizes, float)
    if len(drawn) == 0:
        return Estimate(value=0.0, factor=_WORST)
    unseen = max(0.0, 1 - len(drawn) / count)
    by_mean = float(drawn.mean()) * count
    if unseen == 0:
        return Estimate(value=float(drawn.sum()))
    if len(drawn) == 1:
        return Estimate(value=by_mean, factor=_UNKNOWN)
    error = count * math.sqrt(unseen / len(drawn))
    found = [Estimate(value=by_mean, factor=_factor(error * float(drawn.std(ddof=1)), by_mean))]
    if of_size.sum() > 0:
        rate = float(drawn.sum() / of_size.sum())
        by_size = rate * total_size
        found.append(Estimate(value=by_size, factor=_factor(error * float((drawn - rate * of_size).std(ddof=1)), by_size)))
    return min(found, key=lambda each: each.factor)


def ratio_of_sample(parts: Sequence[float], wholes: Sequence[float], *, least_factor: float) -> Estimate:
    """Sum of the parts over sum of the wholes, with an uncertainty from how the things of the sample differ; never surer than told."""
    part, whole = np.asarray(parts, float), np.asarray(wholes, float)
    if whole.sum() <= 0:
        return Estimate(value=0.0, factor=_WORST)
    ratio = float(part.sum() / whole.sum())
    if len(part) == 1:
        return Estimate(value=ratio, factor=max(least_factor, _UNKNOWN))
    error = math.sqrt(len(part)) * float((part - ratio * whole).std(ddof=1))
    return Estimate(value=ratio, factor=max(least_factor, _factor(error, float(part.sum()))))


def _factor(error: float, value: float) -> float:
    return min(_WORST, math.exp(_SIGMAS * error / value)) if value > 0 else _WORST
