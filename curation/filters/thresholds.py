"""Thresholds of the filters as settings. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from warehouse.plug_ins import PlugInError, points

if TYPE_CHECKING:
    from curation.filters.frame_filter import FrameFilter

__all__ = [
    "ENTRY_POINTS",
    "FrameThresholds",
    "filter_sentences",
    "filter_versions",
    "installed_filters",
    "named_values",
    "settings_of",
]

ENTRY_POINTS = "endoforge.filters"
"""Group of the entry points by which other packages add filters."""


@functools.cache
def installed_filters() -> tuple[FrameFilter, ...]:
    """The filters of other packages; where there are none, nothing heavy is imported.

    Raises:
        PlugInError: one cannot be used.
    """
    if not points(ENTRY_POINTS):
        return ()
    from curation.filters.registry import plug_ins

    return plug_ins()


def filter_versions() -> dict[str, int]:
    """Version of each installed filter, by name."""
    return {each.name: each.version for each in installed_filters()}


def filter_sentences() -> list[str]:
    """A sentence on each installed filter, for the help of commands that have its threshold."""
    return [
        f"Filter {each.name}: {each.unit}."
        + (f" Below {each.option} a frame is dropped as {each.reason}." if each.reason and each.bad == "low" else "")
        + (f" Above {each.option} a frame is dropped as {each.reason}." if each.reason and each.bad == "high" else "")
        for each in installed_filters()
    ]


def named_values(given: Mapping[str, float], defaults: Callable[[], Mapping[str, float]], *, setting: str) -> dict[str, float]:
    """The defaults of installed filters with the given values instead.

    If none are given and a filter cannot be used there are none: most commands ask no filter, and those that do say what is wrong.

    Raises:
        ValueError: a name is not among the defaults, or a value is not finite.
        PlugInError: values are given, and a filter cannot be used.
    """
    try:
        known = defaults()
    except PlugInError:
        if given:
            raise
        return {}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"{setting} has {name!r}, which no installed filter has; give one of: {', '.join(known) or 'none'}")
        if not math.isfinite(value):
            raise ValueError(f"{setting} has {name}={value}; give a finite number")
    return {**known, **given}


def _default_thresholds() -> dict[str, float]:
    return {each.option: each.threshold for each in installed_filters() if each.threshold is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameThresholds:
    """What decides from a frame's scores, and from its neighbours', whether it is kept."""

    min_blur: float = 8.0
    """variance of the Laplacian at 256 pixels' width, scaled to a mean luma of 100, under which a frame is blurred"""
    min_luma: float = 30.0
    """mean luma (0-255) under which a frame is too dark"""
    max_luma: float = 200.0
    """mean luma (0-255) over which a frame is too bright"""
    max_dark_share: float = 0.8
    """share of pixels with a luma of at most 25, over which a frame is too dark"""
    max_bright_share: float = 0.35
    """share of pixels with a luma of at least 245, over which a frame is too bright"""
    max_specular_share: float = 0.3
    """share of pixels that mirror the lamp, over which a frame is dropped"""
    max_bubble_share: float = 0.5
    """share of pixels amid small bright rims and spots, over which a frame shows bubbles or foam"""
    max_stool_share: float = 0.8
    """share of lit pixels that are yellower than the video's own tissue, over which a frame shows stool or murky fluid; high, because
    another organ may be yellower too"""
    freeze_motion: float = 0.5
    """mean absolute luma difference (0-255) to the previous sample, under which an unchanged frame is frozen"""
    max_hash_distance: int = 6
    """number of differing bits, of the 64 of the perceptual hash, up to which neighbours in time are near duplicates; the sharpest stays"""
    max_out_of_body: float = 0.3
    """score (0-1) over which a frame is out of the body: it has neither the colours nor the structure of tissue"""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """thresholds of the filters that other packages add, by name, such as min_colorfulness; each filter has a default"""

    def __post_init__(self) -> None:
        """Refuse values that no frame could satisfy."""
        if not 0 <= self.max_hash_distance <= 64:
            raise ValueError(f"max_hash_distance={self.max_hash_distance} is outside 0-64 bits; 6 is a good value")
        for name in (*(f"max_{part}_share" for part in ("dark", "bright", "specular", "bubble", "stool")), "max_out_of_body"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is outside 0-1; it is a share")
        object.__setattr__(self, "thresholds", named_values(self.thresholds, _default_thresholds, setting="thresholds"))

    def value(self, option: str) -> float:
        """The threshold of that name."""
        return self.thresholds[option] if option in self.thresholds else float(getattr(self, option))

    def changed(self, values: Mapping[str, float]) -> Self:
        """The same with other values of some thresholds."""
        own: dict[str, Any] = {option: value for option, value in values.items() if option not in self.thresholds}
        return replace(self, **own, thresholds={**self.thresholds, **{name: values[name] for name in self.thresholds if name in values}})


def settings_of(config: FrameThresholds) -> dict[str, Any]:
    """The settings as a run records them, with the versions of installed filters; without these nothing is said of any."""
    settings = asdict(config)
    if not installed_filters():
        return {name: value for name, value in settings.items() if name not in ("thresholds", "percentiles")}
    return {**settings, "filters": filter_versions()}
