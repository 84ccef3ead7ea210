"""The tables of scores on the page about a run: one for each evaluation set and head, ours first."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from evaluation.metrics import LOWER_IS_BETTER
from evaluation.report.on_validation import primary_metric
from evaluation.report.score_columns import class_measures, metrics_by_table, seen_size, unit_of
from evaluation.report.subgroups import Subgroups
from warehouse.records import Score

__all__ = ["score_tables"]


def _best(values: list[float], metric: str) -> float:
    return (min if metric in LOWER_IS_BETTER else max)(values, default=math.nan)


def score_tables(
    all_scores: Sequence[Score], own_models: Collection[str], subgroups: Sequence[tuple[Score, Subgroups]]
) -> list[dict[str, object]]:
    """One table per evaluation set and head: a row per model, resolution and settings, a column per metric; our models first."""
    grouped: dict[tuple[str, str, str], list[Score]] = defaultdict(list)
    for score in all_scores:
        grouped[score.task, score.data_id, score.head].append(score)
    guesses = {
        key[:2]: grouped.pop(key) for key in list(grouped) if key[2] == "constant" and len({k for k in grouped if k[:2] == key[:2]}) > 1
    }
    for key, scores in grouped.items():  # what looks at no picture stands in each table of its set
        shown = {score.metric for score in scores}
        scores += [guess for guess in guesses.get(key[:2], []) if guess.metric in shown]
    tables: list[dict[str, object]] = []
    for (task, data_id, head), scores in grouped.items():
        metrics = list(dict.fromkeys(score.metric for score in scores))
        primary = next(filter(None, map(primary_metric, scores)), "")
        found: dict[tuple[str, ...], dict[str, Score]] = defaultdict(dict)
        for score in scores:
            told = (score.details.get(name, "") for name in ("settings", "backbone_config", "code"))
            how = (seen_size(score), *told, str(score.seed))
            found[score.model_id, score.model, *how][score.metric] = score
        best = {metric: _best([s.value for s in scores if s.metric == metric and math.isfinite(s.value)], metric) for metric in metrics}
        ours_first = sorted(found.items(), key=lambda one: one[0][0] not in own_models)
        parts = [_part(names, ours_first, best, own_models) for names in metrics_by_table(metrics, primary=primary)]
        sizes = sorted({int(key[2]) for key in found if key[2].isdigit()})
        first = scores[0]
        tables.append(
            {
                "task": task,
                "data_id": data_id,
                "head": head,
                "parts": [part for part in parts if part["rows"]],
                "by_class": class_measures([(_row_name(key, sizes), cells) for key, cells in ours_first]),
                "subgroups": [
                    (_row_name(("", score.model, seen_size(score)), sizes), of_head)
                    for score, of_head in subgroups
                    if (score.task, score.data_id, score.head) == (task, data_id, head) and (of_head.columns or of_head.groups)
                ],
                "unit": unit_of(scores),
                "num_items": first.num_items,
                "num_groups": first.num_groups,
                "warnings": first.details.get("warnings"),
                "has_leaks": int(first.details.get("num_leaks", 0)) > 0,
                "leak": first.details.get("leak", "unknown"),
                "patients": first.details.get("patients", "unknown"),
                "mixed": ", ".join(map(str, sizes)) if len(sizes) > 1 else "",
                "splits": first.details.get("splits"),
            }
        )
    return tables


def _part(
    metrics: Sequence[str], rows: Sequence[tuple[tuple[str, ...], dict[str, Score]]], best: Mapping[str, float], own_models: Collection[str]
) -> dict[str, object]:
    """Some columns of a table."""
    return {
        "metrics": metrics,
        "best": [best[metric] for metric in metrics],
        "rows": [
            {
                "model": key[1],
                "own": key[0] in own_models,
                "resolution": f"{key[2]} px" if key[2] else "",
                "learned": next(iter(cells.values())).details.get("leak_pretraining", "unknown"),
                "cells": [cells.get(metric) for metric in metrics],
            }
            for key, cells in rows
            if not cells.keys().isdisjoint(metrics)
        ],
    }


def _row_name(key: tuple[str, ...], sizes: Sequence[int]) -> str:
    return f"{key[1]}, {key[2]} px" if key[2] and len(sizes) > 1 else key[1]
