"""95% intervals over groups (patients) that hold what they claim, also with few groups and near 0 and 1.

A value's variance is that of the jackknife that leaves out one group at a time. From it follows an effective number of items, with which
Wilson's interval is made; t's quantile stands for the normal one, with as many degrees of freedom as there are groups of equal size. With
fewer errors than half the groups, the jackknife cannot tell how errors cluster: the variance is then at least the binomial one, and the
quantile goes to the normal one. A simulation of all cases (tests/benchmarks/bench_interval_coverage.py) stands in docs/evaluation.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "BOOTSTRAP_GROUPS",
    "FEWEST_GROUPS",
    "Interval",
    "bootstrap_interval",
    "bootstrap_weights",
    "jackknife_interval",
    "withheld",
]

FEWEST_GROUPS = 5
"""below it no interval is given"""

BOOTSTRAP_GROUPS = 50
"""from it on signed scores (kappa, differences) have the percentile bootstrap; of 30 groups it covers .924 of paired differences"""

_NORMAL = 1.959964

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 95% interval, whose ends are not a number where none can be given; `method` says how it was made, or why not."""

    value: float
    low: float
    high: float
    method: str = ""


def withheld(value: float, why: str) -> Interval:
    """A value without an interval."""
    return Interval(value, math.nan, math.nan, f"no interval: {why}")


def jackknife_interval(
    value: float,
    without: Floats,
    sizes: Floats,
    *,
    num_items: float,
    num_errors: float | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Wilson's interval with the effective number of items that the group jackknife gives, and t's quantile.

    Args:
        value: of all groups.
        without: [G] values with each group left out.
        sizes: [G] items of each group; unequal groups count as fewer.
        num_items: how many items decide the value; the effective number where all agree.
        num_errors: of items that are right or wrong, how many are of the rarer kind; None for other values, such as Dice.
        bounds: least and greatest value there can be.
    """
    num_groups = len(without)
    if num_groups < FEWEST_GROUPS:
        return withheld(value, f"below {FEWEST_GROUPS} groups")
    if not (math.isfinite(value) and np.isfinite(without).all()):
        return withheld(value, "undefined without one of the groups")
    span = bounds[1] - bounds[0]
    share = min(max((value - bounds[0]) / span, 0.0), 1.0)
    variance = (num_groups - 1) / num_groups * float(((without - without.mean()) ** 2).sum()) / span**2
    effective = share * (1 - share) / variance if variance > 1e-14 else 0.0
    effective = effective or num_items
    from scipy.stats import t  # a third of a second, for whoever makes an interval

    quantile = float(t.ppf(0.975, max(float(sizes.sum() ** 2 / (sizes**2).sum()) - 1, 1.0)))
    scarce = 0.0 if num_errors is None else max(1 - 2 * num_errors / num_groups, 0.0)
    if scarce:
        effective = min(effective, num_items)
        quantile += scarce * (_NORMAL - quantile)
    shrunk = 1 + quantile**2 / effective
    middle = (share + quantile**2 / (2 * effective)) / shrunk
    half = quantile / shrunk * math.sqrt(share * (1 - share) / effective + (quantile / (2 * effective)) ** 2)
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    if share in (0.0, 1.0):  # else rounding may leave out the value itself
        low, high = (0.0, high) if share == 0.0 else (low, 1.0)
    return Interval(value, bounds[0] + span * low, bounds[0] + span * high, f"Wilson and t, jackknife over {num_groups} groups")


def bootstrap_weights(num_groups: int, num_bootstrap: int, seed: int) -> Floats:
    """How often each group is drawn in each replicate, [num_bootstrap, num_groups]; rows sum to num_groups."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_groups, np.full(num_groups, 1.0 / num_groups), size=num_bootstrap).astype(np.float64)


def bootstrap_interval(value: float, replicates: Callable[[Floats], Floats], num_groups: int, *, num_bootstrap: int, seed: int) -> Interval:
    """The percentile bootstrap over groups, which is right from about fifty groups on.

    Args:
        value: of all groups.
        replicates: values of [B, G] weights of the groups, [B].
        num_groups: how many there are to draw from.
        num_bootstrap: draws.
        seed: of the draws.
    """
    drawn = replicates(bootstrap_weights(num_groups, num_bootstrap, seed))
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < len(drawn) or not math.isfinite(value):
        return withheld(value, "undefined without some of the groups")
    low, high = np.percentile(defined, (2.5, 97.5))
    return Interval(value, float(low), float(high), f"percentile bootstrap over {num_groups} groups")
