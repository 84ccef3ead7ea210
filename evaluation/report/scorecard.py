"""One self-contained HTML page about scores: tables, confusion matrices, reliability, few-shot curves, pictures of hits and misses.

It is made from the scores and the predictions that their evaluation stored; nothing is computed by a model.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from evaluation.against_reference import shown_difference
from evaluation.clinical import calibration_error
from evaluation.heads import read_settings
from evaluation.published_scores import PUBLISHED, PublishedScore
from evaluation.report.encoding import data_uri, template_environment
from evaluation.report.leaderboard import division
from evaluation.report.on_validation import on_validation, primary_metric
from evaluation.report.prediction_pictures import box_sheets, mask_sheets, mistakes
from evaluation.report.prediction_tables import Confusion, confusion, reliability
from evaluation.report.report import ContactSheet
from evaluation.report.score_columns import (
    ClassMeasures,
    class_measures,
    frames_words,
    metrics_by_table,
    seen_size,
    size_words,
    unit_of,
)
from evaluation.report.score_figures import few_shot_figure, reliability_figure
from evaluation.report.score_words import SCORE_FILTERS
from evaluation.report.subgroups import Subgroups, prediction_files, prediction_table, subgroups_of
from evaluation.rotation import ROTATION
from warehouse.records import Score
from warehouse.store import atomic_file

__all__ = ["render_scorecard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Detail:
    """One head of one model, image by image."""

    model: str
    head: str
    validation: float
    """minus infinity where it is not known"""
    chosen_by: str
    """metric of `validation`"""
    confusion: Confusion | None
    reliability: Markup | None
    calibration_error: float
    subgroups: Subgroups
    sheets: tuple[ContactSheet, ...]
    score_id: str
    """start of the id by which the head is predicted with and computed again; empty of several folds, which have a head each"""


@dataclass(frozen=True, slots=True)
class _Table:
    """Some measures of all heads of a set."""

    metrics: tuple[str, ...]
    rows: tuple[tuple[str, str, str, tuple[Score | None, ...]], ...]
    """model, head (and how it changed the backbone), image size, and a score a metric"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """All scores of one evaluation set."""

    task: str
    data_id: str
    num_items: int
    num_groups: int
    unit: str
    """what the test items are, in the plural"""
    tables: tuple[_Table, ...]
    """the measures of the whole set, the one that decides on validation first"""
    by_class: ClassMeasures | None
    sizes: tuple[str, ...]
    """sides of the images that the models saw, in pixels"""
    division: str
    """and fold; empty for the data's own splits"""
    verdict: str
    """what the splits share"""
    frame_rate: str
    """frames a second by which false positives a minute are counted; empty for other scores"""
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
    environment.filters.update(SCORE_FILTERS)
    environment.filters.update(
        data_uri=data_uri,
        folds=_folds,
        pixels=size_words,
        difference=shown_difference,
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
    primary = next(filter(None, map(primary_metric, whole)), "")
    cells: dict[tuple[str, str, str, str, str, str], dict[str, Score]] = defaultdict(dict)
    for score in whole:
        how = (score.details.get("settings", ""), score.details.get("backbone_config", ""), str(score.seed))
        cells[labels[score.model_id], _head(score), seen_size(score), *how][score.metric] = score
    columns = metrics_by_table(metrics, primary=primary)
    rows = sorted(cells.items(), key=lambda row: -_shown_first(row[1], columns[0]))
    tables = tuple(
        _Table(
            names,
            tuple((*told[:3], tuple(found.get(name) for name in names)) for told, found in rows if not found.keys().isdisjoint(names)),
        )
        for names in columns
    )
    sizes = {told[2] for told in cells if told[2]}
    primary_last = sorted(whole, key=lambda score: score.metric == primary)  # so that it is the one kept of a head
    details = {files: score for score in primary_last if (files := prediction_files(score)) and score.details.get("weights") != "random"}
    best_first = sorted(details.values(), key=lambda score: -on_validation(score))
    return _Set(
        task=first.task,
        data_id=first.data_id,
        num_items=first.num_items,
        num_groups=first.num_groups,
        unit=unit_of(scores),
        tables=tables,
        by_class=class_measures([(_row_name(*told[:3], sizes), found) for told, found in rows]),
        sizes=tuple(sorted(sizes, key=int)),
        division=division(first),
        verdict=f"Splits: {first.details.get('leak', 'unknown')}. Patients: {first.details.get('patients', 'unknown')}.",
        frame_rate=next(
            (
                score.details["frame_rate"]
                for score in whole
                if score.metric == "false_positives_per_minute" and "frame_rate" in score.details
            ),
            "",
        ),
        notes=tuple(dict.fromkeys(score.details["splits"] for score in scores if "splits" in score.details)),
        leaks=tuple(dict.fromkeys(score.details["warnings"] for score in scores if "warnings" in score.details)),
        published=tuple(figure for figure in PUBLISHED if figure.task == first.task and figure.metric in metrics),
        few_shot=_few_shot(scores, labels),
        details=tuple(replace(found, model=labels[score.model_id]) for score in best_first if (found := _detail(score, root))),
    )


def _row_name(model: str, head: str, size: str, sizes: Collection[str]) -> str:
    """Model, head, and the image size if not all have one."""
    return f"{model}, {_words(head)}" + (f", {size} px" if size and len(sizes) > 1 else "")


def _shown_first(found: dict[str, Score], metrics: tuple[str, ...]) -> float:
    score = found.get(metrics[0]) if metrics else None
    return score.value if score and math.isfinite(score.value) else -math.inf


def _labels(scores: Sequence[Score]) -> dict[str, str]:
    """What each model is called on the page, by its id; two of one name have the start of their ids behind it."""
    names: dict[str, set[str]] = defaultdict(set)
    for score in scores:
        names[score.model].add(score.model_id)
    return {one: name if len(ids) == 1 else f"{name} {one[:8]}" for name, ids in names.items() for one in ids}


def _detail(score: Score, root: Path) -> _Detail | None:
    table = prediction_table(score, root)
    if table is None:
        return None
    settings = read_settings(root / score.details.get("fold_head", score.details.get("head_file", "")))
    data = Path(settings["data"])
    is_masks, is_boxes = "predicted_mask" in table.column_names, "predicted_boxes" in table.column_names
    is_classes = not is_masks and not is_boxes
    if is_boxes:
        sheets = box_sheets(table, data, threshold=settings["state"]["threshold"])
    else:
        sheets = mask_sheets(table, data) if is_masks else (mistakes(table, data),)
    return _Detail(
        model=score.model,
        head=_head(score),
        validation=on_validation(score),
        chosen_by=primary_metric(score),
        confusion=confusion(table, _classes(table)) if is_classes else None,
        reliability=reliability_figure(reliability(table), unit_of([score])) if is_classes else None,
        calibration_error=_calibration_error(table) if is_classes else math.nan,
        subgroups=subgroups_of(table, root),
        sheets=sheets,
        score_id=score.score_id[:12] if "head_file" in score.details else "",
    )


def _calibration_error(table: pa.Table) -> float:
    classes = _classes(table)
    labels = np.array([classes.index(label) for label in table["label"].to_pylist()], np.int64)
    return calibration_error(labels, np.stack(table["probabilities"].to_pylist()).astype(np.float64))


def _classes(table: pa.Table) -> list[str]:
    classes: list[str] = json.loads(table.schema.metadata[b"endoforge"])["classes"]
    return classes


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
    return few_shot_figure(curves, unit_of(scores)) if curves else None


def _head(score: Score) -> str:
    backbone = score.details.get("backbone", "frozen")
    changed = "" if backbone == "frozen" else f"backbone {backbone}"
    return ", ".join(filter(None, (score.head, frames_words(score), changed)))


def _folds(score: Score) -> str:
    """Mean and standard deviation of the folds, of a score of all of them."""
    details = score.details
    return (
        f"{details['num_folds']} folds: {details['mean']} ± {details['sd']}"
        if details.get("fold") == ROTATION and "mean" in details
        else ""
    )


def _words(name: str) -> str:
    return name.replace("_", " ")
