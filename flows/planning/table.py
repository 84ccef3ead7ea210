"""A plan as text: a row for each stage, their sum, and whether it fits this machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from curation.planning import Cost

__all__ = ["PlanLine", "data_size", "duration", "plan_table", "what_fits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine:
    """A row of the plan."""

    stage: str
    cost: Cost | None = None
    """None if nothing is to do"""
    seconds: float = 0.0
    source: str = ""
    """where its rate is from"""


def plan_table(lines: Sequence[PlanLine]) -> list[str]:
    """Lines of text with the columns stage, items, time, peak memory, disk and source of the rate."""
    rows = [("stage", "items", "time", "peak memory", "disk", "rate from")]
    for line in lines:
        if cost := line.cost:
            sizes = data_size(cost.memory_bytes), data_size(cost.kept_bytes + cost.staged_bytes)
            rows.append((line.stage, f"{cost.items:,}", duration(line.seconds), *sizes, line.source))
        else:
            rows.append((line.stage, "", "done", "", "", ""))
    if any(line.cost for line in lines):
        memory, disk = _together(lines)
        rows.append(("together", "", duration(sum(line.seconds for line in lines)), data_size(memory), data_size(disk), ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:5], widths[1:5], strict=True)), row[5]]
        ).rstrip()
        for row in rows
    ]


def what_fits(lines: Sequence[PlanLine], lake_root: Path) -> list[str]:
    """Sentences on the free memory and disk, with warnings if the plan needs more."""
    memory, disk = _together(lines)
    free_memory, free_disk = psutil.virtual_memory().available, shutil.disk_usage(lake_root).free
    said = [f"free now: {data_size(free_memory)} of memory, {data_size(free_disk)} of disk at {lake_root}"]
    if memory > free_memory:
        said.append("WARNING: it does not fit in the free memory; lower --max-memory-gb or --workers, or free some")
    if disk > free_disk:
        said.append("WARNING: it does not fit on the disk; free some, or put the lake elsewhere")
    return said


def _together(lines: Sequence[PlanLine]) -> tuple[int, int]:
    """Memory and disk of all stages one after the other: what is staged goes before the next stage."""
    costs = [line.cost for line in lines if line.cost]
    staged = max((cost.staged_bytes for cost in costs), default=0)
    return max((cost.memory_bytes for cost in costs), default=0), sum(cost.kept_bytes for cost in costs) + staged


def duration(seconds: float) -> str:
    """In words, from seconds to years."""
    if seconds < 5:
        return "under 5 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:,.0f} days" if seconds < 3 * 365 * 86400 else f"{seconds / (365 * 86400):,.0f} years"


def data_size(number: float) -> str:
    """Bytes in MB, GB or TB."""
    if number >= 1e12:
        return f"{number / 1e12:,.1f} TB"
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
