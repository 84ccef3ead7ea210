"""One self-contained page about predictions: a row per video with its curve over time, its episodes and the pictures of its findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.report.encoding import data_uri, template_environment
from warehouse.store import atomic_file

__all__ = ["ArchiveFrame", "Timeline", "TimelineEpisode", "TimelinePicture", "TimelineRow", "render_timeline"]

_MOST_POINTS = 600
"""of one curve; where there are more, the largest of each of so many parts is drawn"""
_WIDTH, _HEIGHT = 1000, 120


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelinePicture:
    """A small picture of a frame with a finding."""

    jpeg: bytes
    position: float
    """seconds of a video, or number of a still"""
    label: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFrame:
    """A kept frame of the lake that is near an episode's peak."""

    jpeg: bytes
    video_id: str
    time_s: float
    similarity: float
    """cosine of the embeddings"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEpisode:
    """A finding over a time."""

    start: float
    """seconds of a video, or number of a still"""
    end: float
    label: str
    peak: float
    """the largest value"""
    peak_at: float
    nearest: tuple[ArchiveFrame, ...] = ()
    """the most similar first; empty where the archive has none"""
    is_searched: bool = True
    """whether the archive was asked"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRow:
    """One video, or the images of one folder."""

    name: str
    in_time: bool
    """positions are seconds; else numbers of images"""
    positions: tuple[float, ...]
    """of the frames, ascending"""
    values: tuple[float, ...]
    """what is drawn of each frame, 0 to 1"""
    hidden: tuple[bool, ...]
    """frames that are not shown, and count for nothing"""
    unlike: tuple[bool, ...]
    """frames that are unlike the training data; empty where that is not known"""
    episodes: tuple[TimelineEpisode, ...]
    pictures: tuple[TimelinePicture, ...]
    notes: tuple[str, ...] = ()
    page_notes: tuple[str, ...] = ()
    """what is to be said once for all rows that have it"""

    @property
    def unlike_share(self) -> float | None:
        """Share of the frames that are shown; None where it is not known."""
        shown = [is_unlike for is_unlike, is_hidden in zip(self.unlike, self.hidden, strict=True) if not is_hidden] if self.unlike else []
        return sum(shown) / len(shown) if shown else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All that the page shows."""

    title: str
    value_name: str
    """what the curves show"""
    facts: tuple[tuple[str, str], ...]
    rows: tuple[TimelineRow, ...]
    failures: tuple[tuple[str, str], ...]
    """files that gave nothing, each with its reason"""
    notes: tuple[str, ...]


def render_timeline(data: Timeline, path: Path) -> None:
    """Write the page to `path`, atomically. Strings may hold anything; they are escaped."""
    environment = template_environment()
    environment.filters.update(data_uri=data_uri, percent=_percent, two=_two)
    charts = [_chart(row) for row in data.rows]
    page = environment.get_template("timeline.html.j2").render(
        data=data, rows=list(zip(data.rows, charts, strict=True)), width=_WIDTH, height=_HEIGHT
    )
    with atomic_file(path) as file:
        file.write(page.encode("utf-8", errors="replace"))


def _chart(row: TimelineRow) -> dict[str, object]:
    """Coordinates in a box of 1000 x 120: the curve, and spans that are hidden, unlike the training data, or an episode."""
    if not row.positions:
        return {"line": "", "hidden": [], "unlike": [], "episodes": [], "end": 0.0, "start": 0.0}
    steps = [after - before for before, after in zip(row.positions, row.positions[1:], strict=False)]
    step = sorted(steps)[len(steps) // 2] if steps else 1.0
    start, end = row.positions[0], row.positions[-1] + step
    points = _thinned(row)
    return {
        "line": " ".join(f"{_x(at, start, end):.1f},{_HEIGHT * (1 - min(max(value, 0.0), 1.0)):.1f}" for at, value in points),
        "hidden": _spans(row.hidden, row.positions, step, start, end),
        "unlike": _spans(row.unlike, row.positions, step, start, end) if row.unlike else [],
        "episodes": [_span(each.start, each.end + step, start, end) for each in row.episodes],
        "start": start,
        "end": end,
    }


def _x(at: float, start: float, end: float) -> float:
    return _WIDTH * (at - start) / (end - start) if end > start else 0.0


def _span(first: float, last: float, start: float, end: float) -> tuple[str, str]:
    left, right = _x(first, start, end), min(float(_WIDTH), _x(last, start, end))
    return f"{left:.1f}", f"{max(right - left, 1.0):.1f}"


def _spans(flags: Sequence[bool], positions: Sequence[float], step: float, start: float, end: float) -> list[tuple[str, str]]:
    """Left and width of each run of true flags."""
    spans = []
    first: float | None = None
    for flag, at in zip((*flags, False), (*positions, end), strict=True):
        if flag and first is None:
            first = at
        elif not flag and first is not None:
            spans.append(_span(first, at, start, end))
            first = None
    return spans


def _thinned(row: TimelineRow) -> list[tuple[float, float]]:
    """The points that are drawn: the largest value of each part; frames that are hidden lie at 0."""
    values = [0.0 if is_hidden else value for value, is_hidden in zip(row.values, row.hidden, strict=True)]
    size = max(1, math.ceil(len(values) / _MOST_POINTS))
    chosen = [max(range(n, min(n + size, len(values))), key=values.__getitem__) for n in range(0, len(values), size)]
    return [(row.positions[n], values[n]) for n in chosen]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _two(value: float) -> str:
    return f"{value:.2f}"
