"""Two models of a lake's scores against each other, on every test split that both were scored on."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from evaluation.compare import CompareError, PairedDifference, paired_difference
from warehouse.lake import Lake
from warehouse.queries import all_scores
from warehouse.records import Score

__all__ = ["run_compare"]

_MOST_NAMED = 6

_SEE = "the leaderboard has the difference to the best reference, draws among them, or evaluate with --random-draws 1"


def run_compare(lake: Lake, first: str, second: str) -> str:
    """A Markdown table: a row for each task, data, head and metric that both models have, with the difference and its interval.

    Args:
        lake: that has the scores.
        first: a model as the table of scores calls it, its id, or a unique start of either.
        second: the other one.

    Raises:
        CompareError: both are one model, a model has no scores, or they have none in common whose predictions were kept.
    """
    every = all_scores(lake)
    for told in (first, second):
        if any(told in (score.model, score.model_id) and "draws" in score.details for score in every):
            raise CompareError(f"{told!r} stands for the mean of several draws, which no image's prediction is of; {_SEE}")
    scores = [score for score in every if "predictions_file" in score.details]
    names = [_model(scores, told) for told in (first, second)]
    if names[0] == names[1]:
        raise CompareError(f"{first!r} and {second!r} are one model; give two")
    by_what: dict[tuple[str, str, str, str], dict[str, Score]] = defaultdict(dict)
    for score in scores:
        by_what[score.task, score.data_id, score.head, score.metric][score.model_id] = score
    rows: list[str] = []
    unpaired: dict[str, str] = {}
    for (task, data_id, head, metric), found in sorted(by_what.items()):
        pair = [found.get(name) for name in names]
        if pair[0] is None or pair[1] is None:
            continue
        difference = _difference(lake.root, pair[0], pair[1])
        if isinstance(difference, str):
            unpaired[f"{task} {head} {metric}"] = difference
        else:
            sizes = [score.details.get("image_size", "?") for score in (pair[0], pair[1])]
            rows.append(_row(task, data_id, head, metric, difference, pixels=" / ".join(dict.fromkeys(sizes))))
    if not rows and unpaired:
        what, why = next(iter(unpaired.items()))
        raise CompareError(
            f"no score that {first} and {second} share can be compared pair by pair ({what}: {why}); see the table of scores"
        )
    if not rows:
        raise CompareError(f"{first} and {second} have no scores of the same data, head and metric; evaluate both on one set")
    title = [f"first: {_label(scores, names[0])}; second: {_label(scores, names[1])}", ""]
    head_line = "| task | data | head | metric | first | second | first - second | 95% interval | told apart | items, groups | pixels |"
    return "\n".join([*title, head_line, "|" + "---|" * 11, *rows, *_left_out(unpaired)]) + "\n"


def _left_out(unpaired: Mapping[str, str]) -> list[str]:
    """A sentence on the scores that both models have and that are not in the table."""
    if not unpaired:
        return []
    more = f" and {len(unpaired) - _MOST_NAMED} more" if len(unpaired) > _MOST_NAMED else ""
    return ["", f"not compared item by item: {', '.join(list(unpaired)[:_MOST_NAMED])}{more}"]


def _model(scores: list[Score], told: str) -> str:
    exact = {score.model_id for score in scores if told in (score.model, score.model_id)}
    found = exact or {score.model_id for score in scores if score.model_id.startswith(told) or score.model.startswith(told)}
    if len(found) != 1:
        known = ", ".join(sorted({score.model for score in scores})) or "none yet"
        what = "is the start of several models" if found else "has no scores with stored predictions"
        raise CompareError(f"{told!r} {what}; models of this lake: {known}")
    return found.pop()


def _label(scores: list[Score], model_id: str) -> str:
    return next(score.model for score in scores if score.model_id == model_id)


def _difference(root: Path, first: Score, second: Score) -> PairedDifference | str:
    """The difference, or why there is none."""
    files = [root / score.details["predictions_file"] for score in (first, second)]
    if not all(file.is_file() for file in files):
        return "its stored predictions are gone"
    tables = [pq.read_table(file) for file in files]
    classes = json.loads(tables[0].schema.metadata[b"endoforge"])["classes"]
    try:
        return paired_difference(tables[0], tables[1], metric=first.metric, classes=classes)
    except CompareError as error:  # a metric of neither labels nor images, such as AP of boxes
        return str(error)


def _row(task: str, data_id: str, head: str, metric: str, found: PairedDifference, *, pixels: str) -> str:
    low, high = found.difference.low, found.difference.high
    has_interval = math.isfinite(low)
    interval = f"{low:+.3f} to {high:+.3f}" if has_interval else found.difference.method
    verdict = ("yes" if found.is_told_apart else "no") if has_interval else "unknown"
    numbers = f"{found.first:.3f} | {found.second:.3f} | {found.difference.value:+.3f} | {interval} | {verdict}"
    return f"| {task} | {data_id[:12]} | {head} | {metric} | {numbers} | {found.num_items}, {found.num_groups} | {pixels} |"
