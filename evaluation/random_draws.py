"""The reference row of random weights: the mean and the range of several draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from warehouse.records import Score
from warehouse.store import content_id

__all__ = ["mean_of_draws"]


def mean_of_draws(draws: Sequence[Sequence[Score]]) -> tuple[Score, ...]:
    """One score for each head and metric: the mean of all draws, with their range in the details.

    It has no interval: draws differ by their weights, and all see the same test images. What the first draw alone has stays as it is:
    few-shot curves, and heads that change the backbone.

    Args:
        draws: the scores of each draw; those of the first give the order, the model and what all have in common.
    """
    if not draws:
        return ()
    others = [{(score.head, score.metric): score for score in scores if "shots" not in score.details} for scores in draws[1:]]
    found = []
    for first in draws[0]:
        key = first.head, first.metric
        if "shots" in first.details or not all(key in scores for scores in others) or not others:
            found.append(first)
            continue
        drawn = [first, *(scores[key] for scores in others)]
        values = [score.value for score in drawn]
        # what was chosen on validation, and the files of a head, are of one draw
        common = {name: told for name, told in first.details.items() if all(score.details.get(name) == told for score in drawn)}
        spread = f"{min(values):.3f} to {max(values):.3f}"
        interval = f"mean of {len(values)} draws, {spread}"
        details = {**common, "draws": str(len(values)), "range": spread, "interval": interval}
        identity = content_id(["draws", [score.score_id for score in drawn]])
        value = sum(values) / len(values)
        found.append(replace(first, score_id=identity, value=value, ci_low=math.nan, ci_high=math.nan, details=details))
    return tuple(found)
