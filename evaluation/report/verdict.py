"""A model beside its baselines in one sentence that promises nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence

from evaluation.report.on_validation import on_validation
from warehouse.records import Score

__all__ = ["HEADLINES", "beside_baselines", "headlines"]

HEADLINES = {"balanced_accuracy": "balanced accuracy", "quadratic_weighted_kappa": "weighted kappa", "dice": "Dice"}
"""Metrics that stand first; the last that a task has counts."""
_RANK = {metric: rank for rank, metric in enumerate(HEADLINES)}


def headlines(scores: Sequence[Score], own_models: Collection[str]) -> list[Score]:
    """Our headline score of each evaluation set: of its foremost metric, the head that was best on the validation split."""
    found: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in scores:
        if score.model_id in own_models and score.metric in HEADLINES:
            found[score.task, score.data_id].append(score)
    return [max(of_set, key=lambda score: (_RANK[score.metric], on_validation(score))) for of_set in found.values()]


def beside_baselines(scores: Sequence[Score], own_models: Collection[str], baselines: Sequence[str]) -> str:
    """How the headline scores stand beside those of each baseline with the same head on the same images.

    A model is better if its value lies above the baseline's 95% interval; without an interval, above its value.

    Args:
        scores: of our models and of baselines.
        own_models: ids of ours.
        baselines: as scores call them.

    Returns:
        One sentence; empty if there is no score or nothing beside it.
    """
    ours = headlines(scores, own_models)
    said = []
    for name in baselines:
        compared = [(score, _beside(score, scores, name)) for score in ours]
        better = [score.task for score, other in compared if other is not None and score.value > _bar(other)]
        num_compared = sum(other is not None for _, other in compared)
        if num_compared:
            tasks = f" ({', '.join(dict.fromkeys(better))})" if 0 < len(better) < num_compared else ""
            worse = num_compared - len(better)
            end = f"better than {name} on {len(better)} of {num_compared} {'task' if num_compared == 1 else 'tasks'}{tasks}"
            said.append(f"no better than {name} on {worse} of {num_compared}" if not better else end)
    return "; ".join(said)


def _beside(score: Score, scores: Sequence[Score], name: str) -> Score | None:
    same = (score.task, score.data_id, score.head, score.metric)
    return next((other for other in scores if other.model == name and (other.task, other.data_id, other.head, other.metric) == same), None)


def _bar(score: Score) -> float:
    return score.value if math.isnan(score.ci_high) else score.ci_high
