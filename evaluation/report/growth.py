"""How time and memory of each stage grow with the number of frames: records, the exponents, and the two log-log charts."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["LEAST_VARIABLE_S", "GrowthPoint", "StageGrowth", "growth_figures", "growth_rows", "time_exponent"]

LEAST_VARIABLE_S = 60.0
"""Seconds beyond its fixed cost that a run must take before a rate or an exponent is drawn from it.

In runs of seconds, start-up decides: a clustering of 161 frames in 2.1 s, multiplied, gave 340 days for 1.2e8 frames.
"""

# distinct in both themes, and to most who see colours otherwise (Okabe and Ito's palette without its yellow and black)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6bb1", "#7f7f7f")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthPoint:
    """What a stage took for so many frames, or would take."""

    num_frames: int
    seconds: float
    memory_bytes: int | None
    """most of all processes together; None where it was not recorded"""
    fixed_s: float = 0.0
    """seconds of it that any number of frames takes: starting workers, the transaction"""

    @property
    def variable_s(self) -> float:
        """Seconds that depend on the number of frames."""
        return self.seconds - self.fixed_s


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGrowth:
    """A stage's runs, and what they lead one to expect."""

    stage: str
    points: tuple[GrowthPoint, ...]
    """measured"""
    line: tuple[GrowthPoint, ...] = ()
    """expected, by rising number of frames; the last is the forecast. Empty if no run allows a forecast; `note` then says why"""
    elsewhere: tuple[tuple[str, float], ...] = ()
    """a larger machine, and the forecast's seconds there"""
    disk_bytes: int = 0
    """of the forecast, what is kept and what is staged together"""
    note: str = ""
    """what the line is, what does not fit, or which run a forecast needs"""


def time_exponent(points: Sequence[GrowthPoint]) -> float | None:
    """Slope of log variable seconds on log frames by least squares: 1 is linear.

    Runs with less than `LEAST_VARIABLE_S` are left out. None if fewer than two sizes are left.
    """
    usable = [
        (math.log(point.num_frames), math.log(point.variable_s))
        for point in points
        if point.num_frames > 0 and point.variable_s >= LEAST_VARIABLE_S
    ]
    if len({x for x, _ in usable}) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(usable) for values in zip(*usable, strict=True))
    slope: float = sum((x - mean_x) * (y - mean_y) for x, y in usable) / sum((x - mean_x) ** 2 for x, _ in usable)
    return slope


def growth_figures(stages: Sequence[StageGrowth]) -> dict[str, dict[str, Any]]:
    """The charts `growth_time` and `growth_memory`: points are measured, lines expected, an open diamond is the forecast."""
    return {
        "growth_time": _figure(stages, "seconds", "seconds", "s", 1.0),
        "growth_memory": _figure(stages, "memory_bytes", "memory of all processes (GB)", "GB", 1e9),
    }


def growth_rows(stages: Sequence[StageGrowth]) -> list[dict[str, Any]]:
    """A row of the table for each stage: the largest run, the exponent and the forecast, with a figure for every larger machine."""
    machines = list(dict.fromkeys(name for stage in stages for name, _ in stage.elsewhere))
    rows = []
    for stage in stages:
        largest = max(stage.points, key=lambda point: point.num_frames)
        rows.append(
            {
                "stage": stage.stage,
                "largest": largest,
                "exponent": time_exponent(stage.points),
                "forecast": stage.line[-1] if stage.line else None,
                "elsewhere": {name: dict(stage.elsewhere).get(name) for name in machines} if stage.line else {},
                "disk_bytes": stage.disk_bytes,
                "note": stage.note,
            }
        )
    return rows


def _figure(stages: Sequence[StageGrowth], what: str, title: str, unit: str, divisor: float) -> dict[str, Any]:
    traces: list[dict[str, Any]] = []
    for number, stage in enumerate(stages):
        colour, name = _COLOURS[number % len(_COLOURS)], html.escape(stage.stage, quote=False)
        hover = f"{name}: %{{y:.3g}} {unit} for %{{x:,}} frames<extra></extra>"
        group = {"legendgroup": str(number), "hovertemplate": hover}
        measured = [(point.num_frames, value / divisor) for point in stage.points if (value := getattr(point, what))]
        expected = [(point.num_frames, value / divisor) for point in stage.line if (value := getattr(point, what))]
        x, y = [list(column) for column in zip(*measured, strict=True)] or [[], []]
        traces.append({"type": "scatter", "mode": "markers", "name": name, "x": x, "y": y, "marker": {"size": 8, "color": colour}, **group})
        if expected:
            x, y = [list(column) for column in zip(*expected, strict=True)]
            line = {"type": "scatter", "mode": "lines", "name": name, "showlegend": False, "x": x, "y": y, **group}
            traces.append({**line, "line": {"width": 1.5, "dash": "dot", "color": colour}})
            marker = {"size": 10, "symbol": "diamond-open", "color": colour, "line": {"width": 2}}
            traces.append({**line, "mode": "markers", "x": x[-1:], "y": y[-1:], "marker": marker})
    return {
        "data": traces,
        "layout": {
            "height": 420,
            "margin": {"l": 70, "r": 10, "t": 10, "b": 50},
            "xaxis": {"title": {"text": "frames that the stage worked on"}, "type": "log", "dtick": 1, "exponentformat": "power"},
            "yaxis": {"title": {"text": title}, "type": "log", "dtick": 1, "exponentformat": "power"},
            "legend": {"x": 0, "y": 1, "bgcolor": "rgba(0,0,0,0)"},
        },
    }
