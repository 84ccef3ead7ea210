"""All scores of a lake as tables: one for each task, data and metric, the best first, published figures apart."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.against_reference import shown_difference
from evaluation.metrics import LOWER_IS_BETTER
from evaluation.published_scores import PUBLISHED, PublishedScore
from evaluation.report.encoding import template_environment
from evaluation.report.score_columns import frames_words, seen_size, size_words, unit_of
from warehouse.records import Score

__all__ = ["BoardFormat", "division", "render_leaderboard"]

BoardFormat = Literal["md", "csv", "html"]

_COLUMNS = (
    "model",
    "head",
    "backbone",
    "value",
    "95% interval",
    "over the best reference",
    "leak",
    "pretraining",
    "division",
    "image size",
    "seed",
    "settings",
)
_HIGHER_FIRST = -1.0
_LOWER_FIRST = 1.0


@dataclass(frozen=True, slots=True)
class _Table:
    task: str
    data_id: str
    metric: str
    num_items: int
    num_groups: int
    rows: tuple[tuple[str, ...], ...]
    """cells as printed, by `_COLUMNS`"""
    unit: str
    """what the test items are, in the plural"""
    mixes_sizes: bool
    published: tuple[PublishedScore, ...]


def render_leaderboard(scores: Sequence[Score], *, format: BoardFormat) -> str:
    """Tables of scores, to be printed or written to a file.

    A table holds scores of the same test items, labels and splits alone. Which task or metric matters is the reader's choice, so there
    is no mean over them.

    Args:
        scores: of any tasks and models; few-shot curves are left out.
        format: Markdown; CSV, one row a score with all columns; or one HTML page without a reference to any network.
    """
    scores = [score for score in scores if "shots" not in score.details]
    if format == "csv":
        return _csv(scores)
    tables = _tables(scores)
    if format == "md":
        return "\n".join(_markdown(table) for table in tables) or "no scores\n"
    environment = template_environment()
    return environment.get_template("leaderboard.html.j2").render(tables=tables, columns=_COLUMNS)


def _tables(scores: Sequence[Score]) -> list[_Table]:
    grouped: dict[tuple[str, str, str], list[Score]] = defaultdict(list)
    for score in scores:
        grouped[score.task, score.data_id, score.metric].append(score)
    tables = []
    for (task, data_id, metric), found in sorted(grouped.items()):
        order = _LOWER_FIRST if metric in LOWER_IS_BETTER else _HIGHER_FIRST
        found.sort(
            key=lambda score: (not math.isfinite(score.value), order * score.value if math.isfinite(score.value) else 0.0, score.model)
        )
        published = tuple(figure for figure in PUBLISHED if (figure.task, figure.metric) == (task, metric))
        sizes = {size for score in found if (size := seen_size(score))}
        first = found[0]
        rows = tuple(_cells(score) for score in found)
        tables.append(_Table(task, data_id, metric, first.num_items, first.num_groups, rows, unit_of(found), len(sizes) > 1, published))
    return tables


def _cells(score: Score) -> tuple[str, ...]:
    details = score.details
    interval = f"draws {details['range']}" if "range" in details else "none"
    if math.isfinite(score.ci_low) and math.isfinite(score.ci_high):
        interval = f"{score.ci_low:.3f} to {score.ci_high:.3f}"
    return (
        score.model + (f" ({withdrawn})" if (withdrawn := details.get("training_data")) else ""),
        score.head,
        "" if "reference" in details else details.get("backbone", "frozen"),
        f"{score.value:.3f}" if math.isfinite(score.value) else "undefined",
        interval,
        shown_difference(score),
        details.get("leak", "unknown"),
        details.get("leak_pretraining", "unknown"),
        division(score),
        ", ".join(filter(None, (size_words(score), frames_words(score)))),
        str(score.seed),
        details.get("settings", ""),
    )


def division(score: Score) -> str:
    """How the items of a score were divided, in a few words; empty for the data's own splits."""
    name = score.details.get("split_protocol", "").partition(":")[0]
    fold = score.details.get("fold")
    return ", ".join(part for part in (name, f"fold {fold}" if fold and fold != "all" else "all folds" if fold else "") if part)


def _markdown(table: _Table) -> str:
    lines = [f"## {table.task}: {table.metric}", ""]
    lines += [f"{table.num_items} test {table.unit} of {table.num_groups} groups; data {table.data_id[:12]}.", ""]
    if table.mixes_sizes:
        lines += [f"Models were given {table.unit} of different sizes.", ""]
    lines += ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table.rows]
    if table.published:
        lines += ["", "Published, under other protocols:", "", "| model | value | protocol | source |", "|---|---|---|---|"]
        lines += [f"| {figure.model} | {figure.value:.3f} | {figure.protocol} | {figure.source} |" for figure in table.published]
    return "\n".join(lines) + "\n"


def _csv(scores: Sequence[Score]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["task", "data_id", "metric", *_COLUMNS, "ci_low", "ci_high", "num_items", "num_groups", "score_id", "model_id"])
    for score in scores:
        identity = (score.ci_low, score.ci_high, score.num_items, score.num_groups, score.score_id, score.model_id)
        cells = dict(zip(_COLUMNS, _cells(score), strict=True)) | {"value": score.value}
        writer.writerow([score.task, score.data_id, score.metric, *cells.values(), *identity])
    return out.getvalue()
