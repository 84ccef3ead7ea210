"""One self-contained HTML page about scores: tables, confusion matrices, reliability, few-shot curves, pictures of hits and misses.

It is made from the scores and the predictions that their evaluation stored; nothing is computed by a model.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup

from evaluation.against_reference import shown_difference
from evaluation.clinical import calibration_error
from evaluation.heads import read_settings
from evaluation.intervals import Interval
from evaluation.published_scores import PUBLISHED, PublishedScore
from evaluation.report.encoding import data_uri, template_environment
from evaluation.report.leaderboard import division
from evaluation.report.prediction_pictures import box_sheets, mask_sheets, mistakes
from evaluation.report.prediction_tables import Confusion, GroupRow, SubgroupRow, confusion, group_rows, reliability, subgroup_rows
from evaluation.report.report import ContactSheet
from evaluation.report.score_figures import few_shot_figure, reliability_figure
from evaluation.rotation import ROTATION
from evaluation.stored_evaluation import SUBGROUPS
from warehouse.records import Score
from warehouse.store import atomic_file, content_id

__all__ = ["render_scorecard"]

_MOST_GROUPS = 8
_IN_PIXELS = ("hd95",)
_METRICS = {"dice": "Dice", "iou": "IoU", "hd95": "HD95, px", "auroc": "AUROC", "auprc": "AUPRC"}
"""what a column is called where it is not the metric's own name"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Detail:
    """One head of one model, image by image."""

    model: str
    head: str
    confusion: Confusion | None
    reliability: Markup | None
    calibration_error: float
    groups: tuple[GroupRow, ...]
    measure: str
    """what a group's value is"""
    subgroups: tuple[tuple[str, tuple[SubgroupRow, ...]], ...]
    """device or site, and the rows of each that the data names"""
    sheets: tuple[ContactSheet, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """All scores of one evaluation set."""

    task: str
    data_id: str
    num_items: int
    num_groups: int
    metrics: tuple[str, ...]
    rows: tuple[tuple[str, str, str, tuple[Score | None, ...]], ...]
    """model, head (and how it changed the backbone), image size, and a score a metric"""
    division: str
    """and fold; empty for the data's own splits"""
    verdict: str
    """what the splits share"""
    notes: tuple[str, ...]
    leaks: tuple[str, ...]
    published: tuple[PublishedScore, ...]
    few_shot: Markup | None
    details: tuple[_Detail, ...]


def render_scorecard(scores: Sequence[Score], *, root: Path, path: Path) -> None:
    """Write the page.

    Args:
        scores: of any models and tasks.
        root: the lake, below which their predictions lie; those that are gone leave their part out.
        path: of the HTML file, written atomically.
    """
    grouped: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for score in scores:
        grouped[score.task, score.data_id].append(score)
    environment = template_environment()
    environment.filters.update(
        data_uri=data_uri,
        number=_number,
        value=_value,
        interval=_interval,
        folds=_folds,
        difference=shown_difference,
        metric=_metric,
        words=_words,
    )
    page = environment.get_template("scorecard.html.j2").render(sets=[_set(found, root) for found in grouped.values()])
    with atomic_file(path) as file:
        file.write(page.encode("utf-8", errors="replace"))


def _set(scores: list[Score], root: Path) -> _Set:
    scores = list({score.score_id: score for score in scores}.values())  # of a baseline that several models were scored beside
    labels = _labels(scores)
    first = scores[0]
    whole = [score for score in scores if "shots" not in score.details]
    metrics = tuple(dict.fromkeys(score.metric for score in whole))
    cells: dict[tuple[str, str, str, str, str], dict[str, Score]] = defaultdict(dict)
    for score in whole:
        how = (score.details.get("settings", ""), str(score.seed))
        cells[labels[score.model_id], _head(score), score.details.get("image_size", ""), *how][score.metric] = score
    rows = [(model, head, size, tuple(found.get(metric) for metric in metrics)) for (model, head, size, *_), found in cells.items()]
    rows.sort(key=lambda row: -max((score.value for score in row[3][:1] if score and math.isfinite(score.value)), default=-math.inf))
    details = {files: score for score in whole if (files := _prediction_files(score))}
    return _Set(
        task=first.task,
        data_id=first.data_id,
        num_items=first.num_items,
        num_groups=first.num_groups,
        metrics=metrics,
        rows=tuple(rows),
        division=division(first),
        verdict=f"Splits: {first.details.get('leak', 'unknown')}. Patients: {first.details.get('patients', 'unknown')}.",
        notes=tuple(dict.fromkeys(score.details["splits"] for score in scores if "splits" in score.details)),
        leaks=tuple(dict.fromkeys(score.details["warnings"] for score in scores if "warnings" in score.details)),
        published=tuple(figure for figure in PUBLISHED if figure.task == first.task and figure.metric in metrics),
        few_shot=_few_shot(scores, labels),
        details=tuple(
            replace(found, model=labels[score.model_id])
            for score in details.values()
            if score.details.get("weights") != "random" and (found := _detail(score, root))
        ),
    )


def _labels(scores: Sequence[Score]) -> dict[str, str]:
    """What each model is called on the page, by its id; two of one name have the start of their ids behind it."""
    names: dict[str, set[str]] = defaultdict(set)
    for score in scores:
        names[score.model].add(score.model_id)
    return {one: name if len(ids) == 1 else f"{name} {one[:8]}" for name, ids in names.items() for one in ids}


def _detail(score: Score, root: Path) -> _Detail | None:
    files = [root / name for name in _prediction_files(score)]
    if not all(file.is_file() for file in files):
        return None
    tables = [pq.read_table(file) for file in files]
    shared = [name for name in tables[0].column_names if all(name in table.column_names for table in tables)]
    table = pa.concat_tables([table.select(shared).replace_schema_metadata(tables[0].schema.metadata) for table in tables])
    settings = read_settings(root / score.details.get("fold_head", score.details.get("head_file", "")))
    data = Path(settings["data"])
    is_masks, is_boxes = "predicted_mask" in table.column_names, "predicted_boxes" in table.column_names
    is_classes = not is_masks and not is_boxes
    if is_boxes:
        sheets = box_sheets(table, data, threshold=settings["state"]["threshold"])
    else:
        sheets = mask_sheets(table, data) if is_masks else (mistakes(table, data),)
    groups = group_rows(table)
    return _Detail(
        model=score.model,
        head=score.head,
        confusion=confusion(table, _classes(table)) if is_classes else None,
        reliability=reliability_figure(reliability(table)) if is_classes else None,
        calibration_error=_calibration_error(table) if is_classes else math.nan,
        groups=tuple(_nameless(row) for row in groups[:_MOST_GROUPS]) if 1 < len(groups) < table.num_rows else (),
        measure="accuracy" if is_classes else "mean Dice" if is_masks else "mean F1 of boxes",
        subgroups=tuple((name, rows) for name in SUBGROUPS if (rows := subgroup_rows(table, name))),
        sheets=sheets,
    )


def _prediction_files(score: Score) -> tuple[str, ...]:
    """Those of one evaluation, or of the folds whose predictions are pooled; none if they were not kept."""
    details = score.details
    return (
        tuple(details["fold_predictions"].split(" "))
        if "fold_predictions" in details
        else tuple(filter(None, [details.get("predictions_file")]))
    )


def _calibration_error(table: pa.Table) -> float:
    classes = _classes(table)
    labels = np.array([classes.index(label) for label in table["label"].to_pylist()], np.int64)
    return calibration_error(labels, np.stack(table["probabilities"].to_pylist()).astype(np.float64))


def _classes(table: pa.Table) -> list[str]:
    classes: list[str] = json.loads(table.schema.metadata[b"endoforge"])["classes"]
    return classes


def _nameless(row: GroupRow) -> GroupRow:
    """A page is passed on more easily than a folder of data: patients stand on it by a digest."""
    return GroupRow(content_id([row.group])[:8], row.num_items, row.value)


def _few_shot(scores: Sequence[Score], labels: dict[str, str]) -> Markup | None:
    sizes: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for score in scores:
        if score.details.get("draw", "mean") != "mean":
            sizes[score.model_id, score.head, score.details["shots"]].append(int(score.details["train_images"]))
    curves: dict[str, list[tuple[int, float, float, float]]] = defaultdict(list)
    for score in scores:
        drawn = sizes.get((score.model_id, score.head, score.details.get("shots", "")))
        if drawn and score.details.get("draw") == "mean":
            point = round(sum(drawn) / len(drawn)), score.value, score.ci_low, score.ci_high
            curves[f"{labels[score.model_id]}, {score.head}"].append(point)
    return few_shot_figure(curves) if curves else None


def _head(score: Score) -> str:
    backbone = score.details.get("backbone", "frozen")
    return score.head if backbone == "frozen" else f"{score.head}, backbone {backbone}"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "none"


def _folds(score: Score) -> str:
    """Mean and standard deviation of the folds, of a score of all of them."""
    details = score.details
    return (
        f"{details['num_folds']} folds: {details['mean']} ± {details['sd']}"
        if details.get("fold") == ROTATION and "mean" in details
        else ""
    )


def _value(score: Score) -> str:
    return f"{score.value:.1f}" if score.metric in _IN_PIXELS and math.isfinite(score.value) else _number(score.value)


def _interval(score: Score | Interval) -> str:
    low, high = (score.ci_low, score.ci_high) if isinstance(score, Score) else (score.low, score.high)
    if math.isfinite(low) and math.isfinite(high):
        digits = 1 if isinstance(score, Score) and score.metric in _IN_PIXELS else 3
        return f"{low:.{digits}f} to {high:.{digits}f}"
    return f"draws {score.details['range']}" if isinstance(score, Score) and "range" in score.details else "no interval"


def _metric(name: str) -> str:
    return _METRICS.get(name, _words(name))


def _words(name: str) -> str:
    return name.replace("_", " ")
