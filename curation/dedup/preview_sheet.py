"""The page on which a person chooses the thresholds of deduplication: one file, its pictures inside, no path and no name on it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from warehouse.store import atomic_file

__all__ = ["BorderPair", "BorderRow", "DedupSheet", "ThresholdCount", "render_dedup_sheet", "text_histogram"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderPair:
    """A frame and the one it would be left out for."""

    caption: str
    first: bytes
    """JPEG"""
    second: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderRow:
    """Pairs on one side of a border."""

    title: str
    pairs: tuple[BorderPair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdCount:
    """What a threshold of the cosine does."""

    threshold: float
    num_semantic: int
    """frames that go for similarity and for nothing else"""
    num_gone: int
    """frames that go in all"""
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupSheet:
    """What the page shows."""

    encoder: str
    keep: str
    num_frames: int
    num_copies: int
    num_by_distance: tuple[tuple[int, int], ...]
    """bits, and frames whose closest look-alike is that far"""
    hash_distance: int | None
    histogram: tuple[tuple[float, float, int], ...]
    """from, to, frames"""
    counts: tuple[ThresholdCount, ...]
    cosine_rows: tuple[BorderRow, ...]
    hash_rows: tuple[BorderRow, ...]


def text_histogram(bins: tuple[tuple[float, float, int], ...], *, width: int = 50) -> str:
    """A line a bin: its range, its count, and a bar as long as the count against the largest."""
    most = max((count for *_, count in bins), default=0)
    return "\n".join(f"{low:.3f} to {high:.3f} {count:>11,} {'#' * -(-width * count // max(most, 1))}" for low, high, count in bins)


def render_dedup_sheet(sheet: DedupSheet, path: Path) -> None:
    """Write the page to `path`, atomically; the same sheet always has the same bytes."""
    environment = Environment(
        loader=PackageLoader("curation.dedup", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["jpeg"] = lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
    most = max((count for *_, count in sheet.histogram), default=0)
    page = environment.get_template("dedup.html.j2").render(sheet=sheet, most=max(most, 1))
    with atomic_file(path) as file:
        file.write(page.encode())
