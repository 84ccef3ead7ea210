"""Each loss of a training beside its first value, its level of knowing nothing and our own runs: records, and one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.report.charts import ACCENT, MUTED, SECOND, plotly_text

__all__ = ["LossCurve", "losses_figure"]

_COLUMNS = 2
_GAP = 0.12
"""between panels, as a share of the figure"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCurve:
    """One loss by optimiser step."""

    name: str
    points: tuple[tuple[int, float], ...]
    """step and value"""
    level: float | None = None
    """its value where the student guesses, such as ln K; None where there is no such value"""
    level_name: str = ""
    reference: tuple[tuple[int, float, float], ...] = ()
    """step, least and greatest value of our own runs with these settings; empty where there are none"""


def losses_figure(curves: Sequence[LossCurve]) -> dict[str, Any]:
    """A panel a loss: its curve, its start, its level of knowing nothing, and the range of the reference runs."""
    traces: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    rows = -(-len(curves) // _COLUMNS)
    layout: dict[str, Any] = {"height": 60 + 210 * rows, "margin": {"l": 50, "r": 20, "t": 30, "b": 45}, "showlegend": False}
    for number, curve in enumerate(curves):
        x, y = ("x", "y") if number == 0 else (f"x{number + 1}", f"y{number + 1}")
        row, column = divmod(number, _COLUMNS)
        left, width = column * (0.5 + _GAP / 2), 0.5 - _GAP / 2
        height = (1 - _GAP * (rows - 1)) / rows
        top = 1 - row * (height + _GAP)
        layout[f"xaxis{x[1:]}"] = {"domain": [left, left + width], "anchor": y, "showgrid": False}
        layout[f"yaxis{y[1:]}"] = {"domain": [max(0.0, top - height), top], "anchor": x}
        traces += _band(curve, x, y)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": plotly_text(curve.name),
                "x": [step for step, _ in curve.points],
                "y": [value if math.isfinite(value) else None for _, value in curve.points],
                "xaxis": x,
                "yaxis": y,
                "line": {"color": ACCENT, "width": 2},
                "hovertemplate": "step %{x}: %{y:.3f}<extra></extra>",
            }
        )
        notes.append({"text": f"<b>{plotly_text(curve.name)}</b>", "y": top, "yanchor": "bottom", **_at(left)})
        lines = [("start", _start(curve), "dot", MUTED), (curve.level_name, curve.level, "dash", SECOND)]
        for label, value, dash, colour in lines:
            if value is None:
                continue
            line = {"color": colour, "dash": dash, "width": 1.5}
            shapes.append({"type": "line", "xref": f"{x} domain", "yref": y, "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line})
            said = f"{plotly_text(label)} {value:.3f}"
            place = {"xref": f"{x} domain", "yref": y, "x": 1, "y": value, "xanchor": "right", "yanchor": "bottom"}
            notes.append({"text": said, "showarrow": False, "font": {"color": colour, "size": 11}, **place})
    return {"data": traces, "layout": layout | {"shapes": shapes, "annotations": notes}}


def _band(curve: LossCurve, x: str, y: str) -> list[dict[str, Any]]:
    """The range of the reference runs, as an upper edge and a lower one that fills up to it."""
    if not curve.reference:
        return []
    steps = [step for step, _, _ in curve.reference]
    common = {"type": "scatter", "mode": "lines", "x": steps, "xaxis": x, "yaxis": y, "hoverinfo": "skip", "line": {"width": 0}}
    lower, upper = [low for _, low, _ in curve.reference], [high for _, _, high in curve.reference]
    return [
        {**common, "name": "reference, greatest", "y": upper},
        {**common, "name": "reference, least", "y": lower, "fill": "tonexty", "fillcolor": "rgba(127, 127, 127, 0.3)"},
    ]


def _start(curve: LossCurve) -> float | None:
    return next((value for _, value in curve.points if math.isfinite(value)), None)


def _at(left: float) -> dict[str, Any]:
    return {"xref": "paper", "yref": "paper", "x": left, "xanchor": "left", "showarrow": False, "font": {"size": 13}}
