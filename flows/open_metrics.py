"""Gauges as OpenMetrics text, in a form that readers of the older Prometheus text format take too.

node_exporter's textfile collector reads the older form, and refuses what that lacks. Both have gauges, and a comment may be `# EOF`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Gauge", "open_metrics"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Gauge:
    """One family of figures."""

    name: str
    """without the prefix endoforge_; ends in its unit if it has one"""
    what: str
    samples: Sequence[tuple[Mapping[str, str], float]]
    """labels and value"""

    def __post_init__(self) -> None:
        if not all(_NAME.fullmatch(name) for name in (self.name, *(label for labels, _ in self.samples for label in labels))):
            raise ValueError(f"gauge {self.name!r} or one of its labels is no name of a metric; give lower-case letters, digits and _")


def open_metrics(gauges: Iterable[Gauge]) -> str:
    """The text of a whole exposition; families without a sample are left out."""
    lines = []
    for gauge in gauges:
        if gauge.samples:
            name = f"endoforge_{gauge.name}"
            lines += [f"# HELP {name} {_escaped(gauge.what)}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_labels(labels)} {value!r}" for labels, value in gauge.samples]
    return "\n".join([*lines, "# EOF", ""])


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
