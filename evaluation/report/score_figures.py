"""Two small figures as SVG, drawn by hand so that a page of scores is kilobytes: reliability and few-shot curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from evaluation.report.prediction_tables import ReliabilityBin

__all__ = ["few_shot_figure", "reliability_figure"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM = 380, 240, 56, 24, 36
_COLOURS = ("#0b6e8f", "#d9623b", "#7a5bb5", "#3f8f4f", "#8a6d1f", "#b5446e")


def reliability_figure(bins: Sequence[ReliabilityBin], unit: str) -> Markup:
    """Accuracy over confidence; a point's area is its share of the items, and the diagonal is perfect calibration.

    Args:
        bins: of confidence.
        unit: what the items are, in the plural.
    """
    total = sum(part.num_items for part in bins)
    parts = [
        _axes("probability of the predicted class", "share that is right", [0, 0.25, 0.5, 0.75, 1]),
        _line([(0, 0), (1, 1)], "#9aa4ae", dashed=True),
    ]
    for part in bins:
        radius = 3 + 11 * math.sqrt(part.num_items / total)
        title = f"{part.num_items} {unit}: {part.confidence:.2f} sure, {part.accuracy:.2f} right"
        x, y = _at(part.confidence, part.accuracy)
        parts.append(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" fill="{}" fill-opacity=".6"><title>{}</title></circle>').format(
                x, y, radius, _COLOURS[0], title
            )
        )
    return _svg(parts, "reliability")


def few_shot_figure(curves: Mapping[str, Sequence[tuple[int, float, float, float]]], unit: str) -> Markup:
    """Value over the number of labelled items, one curve a model and head.

    Args:
        curves: (training items, mean, low, high) by the curve's name.
        unit: what the items are, in the plural.
    """
    sizes = [max(size, 1) for points in curves.values() for size, *_ in points]
    least, most = math.log10(min(sizes)), math.log10(max(sizes))
    span = (most - least) or 1.0
    parts = [_axes(f"labelled training {unit} (log scale)", "value", [0, 1], (f"{min(sizes):,}", f"{max(sizes):,}"))]
    legend = []
    for (name, points), colour in zip(curves.items(), _COLOURS * len(curves), strict=False):
        placed = [((math.log10(max(size, 1)) - least) / span, mean) for size, mean, _, _ in sorted(points)]
        parts.append(_line(placed, colour))
        for (x, _), (size, mean, low, high) in zip(placed, sorted(points), strict=True):
            if math.isfinite(low) and math.isfinite(high):
                parts.append(_line([(x, low), (x, high)], colour))
            px, py = _at(x, mean)
            parts.append(
                Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"><title>{} {}: {:.3f}</title></circle>').format(
                    px, py, colour, f"{size:,}", unit, mean
                )
            )
        legend.append(Markup('<li><i style="background:{}"></i>{}</li>').format(colour, name))
    return _svg(parts, "few-shot curve") + Markup('<ul class="legend">') + Markup("").join(legend) + Markup("</ul>")


def _at(x: float, y: float) -> tuple[float, float]:
    return _LEFT + x * (_WIDTH - _LEFT - _RIGHT), 10 + (1 - min(max(y, 0.0), 1.0)) * (_HEIGHT - _BOTTOM - 10)


def _line(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> Markup:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_at(*point) for point in points))
    dash = Markup(' stroke-dasharray="4 4"') if dashed else ""
    return Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="1.5"{}/>').format(path, colour, dash)


def _axes(x_name: str, y_name: str, ticks: Sequence[float], ends: tuple[str, str] | None = None) -> Markup:
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        (x0, y), (x1, _) = _at(0, tick), _at(1, tick)
        parts.append(
            Markup('<line x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}" class="grid"/>').format(x0, x1, y, y)
            + Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="end">{:g}</text>').format(x0 - 6, y + 4, tick)
        )
    for i, tick in enumerate(ticks):
        x, y = _at(tick, 0)
        parts.append(
            Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(x, y + 15, ends[i] if ends else f"{tick:g}")
        )
    parts.append(Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>').format(_at(0.5, 0)[0], _HEIGHT - 4, x_name))
    parts.append(Markup('<text transform="translate(11 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>').format(_at(0, 0.5)[1], y_name))
    return Markup("").join(parts)


def _svg(parts: Sequence[Markup], label: str) -> Markup:
    opening = Markup('<svg class="figure" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, escape(label))
    return opening + Markup("").join(parts) + Markup("</svg>")
