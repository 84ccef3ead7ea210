"""One self-contained HTML page about a run: no network reference, every string escaped, every number readable by a program.

The numbers of the page stand in a `<script type="application/json" id="report-data">` block as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from evaluation.report.charts import cluster_figure, funnel_figure, normalized_entropy, training_figure
from evaluation.report.encoding import data_uri, template_environment
from evaluation.report.growth import StageGrowth, growth_figures, growth_rows
from evaluation.report.loss_charts import LossCurve, losses_figure
from evaluation.report.on_validation import on_validation
from evaluation.report.score_tables import score_tables
from evaluation.report.score_words import SCORE_FILTERS
from evaluation.report.subgroups import Subgroups
from evaluation.report.verdict import HEADLINES, headlines
from warehouse.records import Score
from warehouse.store import atomic_file

__all__ = [
    "REPORT_VERSION",
    "ContactSheet",
    "CurvePoint",
    "FunnelStep",
    "Note",
    "Picture",
    "ReportData",
    "StageTiming",
    "TrainingCurve",
    "page_environment",
    "render_report",
]

REPORT_VERSION = 7
"""raise when the same lake would give another page"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelStep:
    """Frames that are left after one step."""

    name: str
    num_frames: int
    note: str = ""
    """why the others are gone"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A small picture with its caption."""

    jpeg: bytes
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactSheet:
    """Some pictures of the frames that share a fate."""

    title: str
    """kept, or the reason they were dropped"""
    num_frames: int
    """all frames of that fate, not only those shown"""
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One value of a training curve."""

    step: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCurve:
    """Loss and validation score by optimiser step."""

    loss: tuple[CurvePoint, ...]
    score: tuple[CurvePoint, ...]
    score_name: str
    """metric of the validation score, such as landmarks/val/knn_balanced_accuracy"""
    chosen_step: int | None
    """step of the checkpoint that was kept as the best"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something a reader has to know before believing the numbers."""

    level: str
    """ok, info, warning, leak, or problem, with which nothing can be scored"""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTiming:
    """How long a stage took."""

    stage: str
    seconds: float
    num_items: int
    unit: str
    """what is counted: videos, frames, steps"""
    runner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """All that a report shows; whatever is empty leaves its section out."""

    title: str
    subtitle: str = ""
    created_at: str = ""
    """when, as it is to be printed"""
    facts: tuple[tuple[str, str], ...] = ()
    """name and value of what identifies the lake and the run"""
    funnel: tuple[FunnelStep, ...] = ()
    kept: ContactSheet | None = None
    dropped: tuple[ContactSheet, ...] = ()
    clusters_before: tuple[int, ...] = ()
    """frames per cluster among the candidates; a cluster has the same place in `clusters_after`"""
    clusters_after: tuple[int, ...] = ()
    """frames per cluster in the dataset"""
    training: TrainingCurve | None = None
    losses: tuple[LossCurve, ...] = ()
    scores: tuple[Score, ...] = ()
    subgroups: tuple[tuple[Score, Subgroups], ...] = ()
    """heads of our models: any score of the head, and its test images by device, site and patient"""
    own_models: tuple[str, ...] = ()
    """model ids to show as ours; the others are baselines"""
    notes: tuple[Note, ...] = ()
    timings: tuple[StageTiming, ...] = ()
    growth: tuple[StageGrowth, ...] = ()


def render_report(data: ReportData, path: Path) -> None:
    """Write the page to `path`, atomically.

    Args:
        data: what to show. Strings may hold anything; they are escaped.
        path: of the HTML file.
    """
    figures = {}
    if data.funnel:
        figures["funnel"] = funnel_figure([(step.name, step.num_frames) for step in data.funnel])
    if data.clusters_before:
        figures["clusters"] = cluster_figure(data.clusters_before, data.clusters_after)
    if data.training is not None and data.training.loss:
        figures["training"] = training_figure(
            [(point.step, point.value) for point in data.training.loss],
            [(point.step, point.value) for point in data.training.score],
            data.training.score_name,
            data.training.chosen_step,
        )
    if data.losses:
        figures["losses"] = losses_figure(data.losses)
    if data.growth:
        figures |= growth_figures(data.growth)
    page = (
        page_environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            figures=figures,
            has_reference=any(curve.reference for curve in data.losses),
            tables=score_tables(data.scores, data.own_models, data.subgroups),
            tiles=_tiles(data),
            entropies=_entropies(data),
            growth=growth_rows(data.growth),
            machine=_machine_readable(data),
            # our own dependency's code, the only text on the page that is not escaped
            plotly_js=Markup(get_plotlyjs()) if figures else None,
        )
    )
    with atomic_file(path) as file:
        file.write(page.encode("utf-8", errors="replace"))  # a file name that is not UTF-8 must not cost the report


def page_environment() -> Environment:
    """Templates of this room's pages, which escape every string, with the filters that they use."""
    environment = template_environment()
    environment.filters.update(SCORE_FILTERS)
    environment.filters.update(count=_count, score=_score, seconds=_seconds, data_uri=data_uri, percent=_percent, shown=_shown)
    environment.filters.update(size=_size, long=_long)
    return environment


def _tiles(data: ReportData) -> list[dict[str, str]]:
    """The page in a glance: frames in, frames out, and the test value of the head that validation chose."""
    tiles = []
    if data.funnel:
        ends = (data.funnel[0], data.funnel[-1]) if len(data.funnel) > 1 else (data.funnel[0],)
        tiles += [{"name": step.name, "value": _count(step.num_frames)} for step in ends]
    for score in headlines(data.scores, data.own_models):
        chosen = " (chosen on validation)" if math.isfinite(on_validation(score)) else ""
        name = f"{score.task}: {HEADLINES[score.metric]}, {score.head.replace('_', ' ')}{chosen}"
        tiles.append({"name": name, "value": _score(score.value)})
    return tiles


def _entropies(data: ReportData) -> dict[str, float]:
    return {
        name: normalized_entropy(sizes) for name, sizes in (("before", data.clusters_before), ("after", data.clusters_after)) if sum(sizes)
    }


def _machine_readable(data: ReportData) -> dict[str, object]:
    training = data.training
    return {
        "facts": dict(data.facts),
        "funnel": [{"name": step.name, "num_frames": step.num_frames} for step in data.funnel],
        "dropped": [{"reason": sheet.title, "num_frames": sheet.num_frames} for sheet in data.dropped],
        "clusters": {"before": list(data.clusters_before), "after": list(data.clusters_after), "entropy": _entropies(data)},
        "training": None
        if training is None
        else {
            "loss": [[point.step, _finite(point.value)] for point in training.loss],
            "score": [[point.step, _finite(point.value)] for point in training.score],
            "score_name": training.score_name,
            "chosen_step": training.chosen_step,
        },
        "scores": [
            {
                "model": score.model,
                "own": score.model_id in data.own_models,
                "task": score.task,
                "head": score.head,
                "metric": score.metric,
                "data_id": score.data_id,
                "leak": score.details.get("leak", "unknown"),
                "leak_pretraining": score.details.get("leak_pretraining", "unknown"),
                "patients": score.details.get("patients", "unknown"),
                "value": _finite(score.value),
                "ci_low": _finite(score.ci_low),
                "ci_high": _finite(score.ci_high),
            }
            for score in data.scores
        ],
        "subgroups": [_readable_subgroups(score, found) for score, found in data.subgroups],
        "timings": [{"stage": timing.stage, "seconds": timing.seconds, "num_items": timing.num_items} for timing in data.timings],
        "growth": [
            {
                "stage": stage.stage,
                "measured": [[point.num_frames, point.seconds, point.memory_bytes] for point in stage.points],
                "expected": [[point.num_frames, point.seconds, point.memory_bytes] for point in stage.line],
                "elsewhere": dict(stage.elsewhere),
            }
            for stage in data.growth
        ],
    }


def _readable_subgroups(score: Score, found: Subgroups) -> dict[str, object]:
    return {
        "model": score.model,
        "task": score.task,
        "head": score.head,
        "measure": found.measure,
        **{name: {row.name: [row.num_items, _finite(row.score.value)] for row in rows} for name, rows in found.columns},
        "worst": {row.group: [row.num_items, _finite(row.value)] for row in found.groups},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _count(value: int) -> str:
    return f"{value:,}"


def _score(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "undefined"


def _shown(value: float) -> float:
    """The part of a value that a bar from 0 to 1 can show."""
    return min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0


def _percent(value: float) -> str:
    return f"{100 * _shown(value):.2f}"


def _seconds(value: float) -> str:
    whole = round(value)
    if value < 10:
        return f"{value:.1f} s"
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _long(value: float) -> str:
    if value < 2 * 3600:
        return _seconds(value)
    return f"{value / 3600:.0f} h" if value < 72 * 3600 else f"{value / 86400:,.0f} days"


def _size(num_bytes: int | None) -> str:
    if num_bytes is None:
        return "not recorded"
    return f"{num_bytes / 1e9:,.0f} GB" if num_bytes >= 1e11 else f"{num_bytes / 1e9:.1f} GB"
