"""The report's charts as plotly figures in plain JSON; colours are names that the page resolves for its light or dark theme."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["cluster_figure", "funnel_figure", "normalized_entropy", "plotly_text", "training_figure"]

Figure = dict[str, Any]

# the page's script replaces these by the theme's colours
ACCENT, SECOND, MUTED, INK = "@accent", "@second", "@muted", "@ink"


def normalized_entropy(sizes: Sequence[int]) -> float:
    """Shannon entropy of cluster shares over its largest possible value: 1 where all clusters are equal, 0 where one holds everything."""
    total = sum(sizes)
    if total <= 0 or len(sizes) < 2:
        return 0.0
    shares = [size / total for size in sizes if size > 0]
    return -sum(share * math.log(share) for share in shares) / math.log(len(sizes))


def funnel_figure(steps: Sequence[tuple[str, int]]) -> Figure:
    """Horizontal bars of the frames left after each step, with their share of the first."""
    first = max(steps[0][1], 1)
    return {
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "y": list(range(len(steps))),
                "x": [count for _, count in steps],
                "text": [f"{count:,} ({count / first:.0%})" for _, count in steps],
                "textposition": "outside",
                "cliponaxis": False,
                "hoverinfo": "none",
                "marker": {"color": [ACCENT] * (len(steps) - 1) + [SECOND]},
            }
        ],
        "layout": {
            "height": 60 + 44 * len(steps),
            "margin": {"l": 10, "r": 110, "t": 6, "b": 6},
            "bargap": 0.35,
            "xaxis": {"visible": False, "range": [0, first * 1.05]},
            "yaxis": {
                "autorange": "reversed",
                "tickvals": list(range(len(steps))),
                "ticktext": [plotly_text(name) for name, _ in steps],
                "automargin": True,
                "ticks": "",
                "showgrid": False,
            },
        },
    }


def cluster_figure(before: Sequence[int], after: Sequence[int]) -> Figure:
    """Share of the frames in each cluster, largest first, before and after balanced sampling."""
    traces = []
    for name, sizes, colour, dash in (("candidates", before, MUTED, "dot"), ("dataset", after, ACCENT, "solid")):
        total = sum(sizes)
        if total:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "line": {"shape": "hv", "width": 2.5, "color": colour, "dash": dash},
                    "name": f"{name} ({total:,} frames)",
                    "x": list(range(1, len(sizes) + 1)),
                    "y": [100 * size / total for size in sorted(sizes, reverse=True)],
                    "hovertemplate": "cluster %{x}: %{y:.2f} %<extra></extra>",
                }
            )
    return {
        "data": traces,
        "layout": {
            "height": 320,
            "margin": {"l": 60, "r": 10, "t": 10, "b": 50},
            "xaxis": {"title": {"text": "cluster, largest first"}, "showgrid": False},
            "yaxis": {"title": {"text": "share of frames (%)"}, "type": "log"},
            "legend": {"x": 1, "xanchor": "right", "y": 1},
        },
    }


def training_figure(
    loss: Sequence[tuple[int, float]], score: Sequence[tuple[int, float]], score_name: str, chosen_step: int | None
) -> Figure:
    """Loss (left axis) and validation score (right axis) by step, with the chosen checkpoint marked."""
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "training loss",
            "x": [step for step, _ in loss],
            "y": [value if math.isfinite(value) else None for _, value in loss],
            "line": {"color": MUTED, "width": 2},
            "hovertemplate": "step %{x}: loss %{y:.3f}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": plotly_text(score_name),
            "x": [step for step, _ in score],
            "y": [value if math.isfinite(value) else None for _, value in score],
            "yaxis": "y2",
            "line": {"color": ACCENT, "width": 2.5},
            "marker": {"size": 7},
            "hovertemplate": "step %{x}: %{y:.3f}<extra></extra>",
        },
    ]
    layout: Figure = {
        "height": 360,
        "margin": {"l": 60, "r": 60, "t": 40, "b": 50},
        "xaxis": {"title": {"text": "optimiser step"}, "showgrid": False},
        "yaxis": {"title": {"text": "loss"}},
        "yaxis2": {
            "title": {"text": "validation score"},
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "tickmode": "auto",
            "tickformat": ".2f",
            "automargin": True,
        },
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    }
    chosen = next(((step, value) for step, value in score if step == chosen_step), None)
    if chosen is not None:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"chosen checkpoint (step {chosen[0]:,})",
                "x": [chosen[0]],
                "y": [chosen[1]],
                "yaxis": "y2",
                "marker": {"size": 16, "symbol": "star", "color": SECOND, "line": {"width": 1.5, "color": INK}},
                "hovertemplate": "chosen: step %{x}, %{y:.3f}<extra></extra>",
            }
        )
        layout["shapes"] = [
            {
                "type": "line",
                "x0": chosen[0],
                "x1": chosen[0],
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": SECOND, "dash": "dot", "width": 1.5},
            }
        ]
    return {"data": traces, "layout": layout}


def plotly_text(value: str) -> str:
    """Plotly reads a subset of HTML in labels, and % templates in none of those used here."""
    return html.escape(value.replace("\n", " "), quote=False)
