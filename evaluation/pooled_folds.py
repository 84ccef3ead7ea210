"""The pooled value of a rotation, from the predictions that each fold's evaluation stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.clinical_rows import distance_interval
from evaluation.labels import numbered
from evaluation.metrics import CLASSIFICATION_METRICS, Interval
from evaluation.rotation import FoldClasses, FoldValues, rotate_classes, rotate_values
from warehouse.records import Score

__all__ = ["pooled_values"]


def pooled_values(
    folds: Sequence[Sequence[Score]], root: Path, *, classes: Sequence[str], num_bootstrap: int, seed: int
) -> dict[tuple[str, str, str], Interval | str]:
    """By model id, head and metric: the value of all folds' predictions together, with its interval over groups, or why there is none.

    Scores without stored predictions are left out. Folds that test one image twice have no pooled value: its predictions are of several
    heads, and would count as so many images.

    Args:
        folds: the scores of each fold.
        root: the lake.
        classes: of the task, in class-index order.
        num_bootstrap: replicates of an interval that is bootstrapped.
        seed: of these.
    """
    keyed = [{_key(score): score for score in scores if "predictions_file" in score.details} for scores in folds]
    found: dict[tuple[str, str, str], Interval | str] = {}
    for key in set.intersection(*(set(scores) for scores in keyed)):
        metric = key[2]
        files = [root / scores[key].details["predictions_file"] for scores in keyed]
        if not all(file.is_file() for file in files):
            found[key] = "the folds' stored predictions are gone"
            continue
        tables = [pq.read_table(file) for file in files]
        names = [name for name in ("path", "box", "span") if name in tables[0].column_names]
        images = [str(row) for table in tables for row in table.select(names).to_pylist()]
        if len(set(images)) < len(images):
            found[key] = "several folds test the same images"
            continue
        if metric in CLASSIFICATION_METRICS:
            rotation = rotate_classes(
                [_classes(table, classes) for table in tables],
                metric=metric,
                num_classes=len(classes),
                num_bootstrap=num_bootstrap,
                seed=seed,
            )
        elif metric in ("dice", "iou", "precision", "recall") and metric in tables[0].column_names:
            values = [FoldValues(table[metric].to_numpy(), _groups(table)) for table in tables]
            rotation = rotate_values(values, num_bootstrap=num_bootstrap, seed=seed)
        elif metric == "hd95" and metric in tables[0].column_names:
            distances = np.concatenate([table[metric].to_numpy() for table in tables])
            found[key] = distance_interval(distances, numbered([group for table in tables for group in _groups(table)]))
            continue
        else:
            found[key] = "this measure is not pooled over folds"
            continue
        if rotation.pooled is not None:
            found[key] = rotation.pooled
    return found


def _key(score: Score) -> tuple[str, str, str]:
    return score.model_id, score.head, score.metric


def _classes(table: pa.Table, classes: Sequence[str]) -> FoldClasses:
    index = {name: i for i, name in enumerate(classes)}
    predictions, labels = (np.array([index[name] for name in table[column].to_pylist()], np.int64) for column in ("prediction", "label"))
    return FoldClasses(predictions, labels, _groups(table))


def _groups(table: pa.Table) -> tuple[str, ...]:
    return tuple(table["group"].to_pylist())
