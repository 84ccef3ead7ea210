"""All filters in the order in which their reasons apply: those of EndoForge itself, then installed ones by the names of their entry points.

A package adds a filter by an entry point of the group `endoforge.filters` that names a `FrameFilter`; examples/filter_example shows one.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points

from curation.filters.bubbles import BUBBLE_SHARE
from curation.filters.exposure import BRIGHT_SHARE, DARK_SHARE, HIGH_LUMA, LOW_LUMA
from curation.filters.frame_filter import FrameFilter, Picture
from curation.filters.motion import MOTION
from curation.filters.reflections import SPECULAR_SHARE
from curation.filters.sharpness import BLUR
from curation.filters.stool import STOOL_SHARE
from curation.filters.thresholds import ENTRY_POINTS, FilterError
from warehouse.schema import TABLES

__all__ = ["frame_filters", "measure", "plug_ins", "score_names"]

_OUT_OF_BODY = FrameFilter(
    name="out_of_body",
    unit="how sure it is that a frame shows no inside of a body, 0-1, smoothed over time",
    score=None,
    bad="high",
    reason="out_of_body",
    is_private=True,
    by_device=False,
)
_BUILT_IN = (_OUT_OF_BODY, LOW_LUMA, DARK_SHARE, HIGH_LUMA, BRIGHT_SHARE, BLUR, SPECULAR_SHARE, BUBBLE_SHARE, STOOL_SHARE, MOTION)
_OTHER_REASONS = (
    *("frozen", "near_duplicate", "not_stored", "corrupt", "out_of_body_unchecked", "text", "text_unchecked", "text_unaudited"),
    *("identified_in_audit", "video_removed_in_audit"),
)
_OTHER_NAMES = ("device", "is_stored", "num_frames", "part")  # of columns beside those of `frames` where frames are decided again


def frame_filters() -> tuple[FrameFilter, ...]:
    """Every filter; of several reasons to drop a frame the first counts, so private ones come first.

    Raises:
        FilterError: an installed filter cannot be loaded, or clashes with another.
    """
    return tuple(sorted((*_BUILT_IN, *plug_ins()), key=lambda each: not each.is_private))


@functools.cache
def plug_ins() -> tuple[FrameFilter, ...]:
    """The filters of other packages, checked, by the names of their entry points.

    Raises:
        FilterError: one cannot be loaded, or clashes with another.
    """
    found: list[FrameFilter] = []
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        loaded = _loaded(point)
        if fault := _fault(loaded, [*_BUILT_IN, *found]):
            raise FilterError(f"the filter {_title(point)} {fault}")
        assert loaded.score is not None
        found.append(replace(loaded, score=_blaming(_title(point), loaded.score)))
    return tuple(found)


@functools.cache
def score_names() -> tuple[str, ...]:
    """The names of all scores, in the order of their filters."""
    return tuple(dict.fromkeys(each.name for each in frame_filters()))


def measure(picture: Picture) -> dict[str, float]:
    """Every score that one frame alone has, by name."""
    return {name: score(picture) for name, score in _scores().items()}


@functools.cache
def _scores() -> dict[str, Callable[[Picture], float]]:
    return {each.name: each.score for each in frame_filters() if each.score is not None}


def _title(point: EntryPoint) -> str:
    return f"{point.name!r} of {point.dist.name if point.dist else 'an installed package'} ({point.value})"


def _loaded(point: EntryPoint) -> FrameFilter:
    try:
        loaded = point.load()
    except Exception as error:  # whatever a package of someone else does when it is imported
        raise FilterError(
            f"the filter {_title(point)} cannot be loaded ({type(error).__name__}: {error}); repair or uninstall its package"
        ) from error
    if not isinstance(loaded, FrameFilter):
        raise FilterError(f"the filter {_title(point)} is {type(loaded).__name__}; name a curation.filters.FrameFilter in its entry point")
    return loaded


def _fault(loaded: FrameFilter, others: list[FrameFilter]) -> str | None:
    """What makes a filter of another package unusable beside the others."""
    names = {*TABLES["frames"].names, *_OTHER_NAMES, *(each.name for each in others)}
    reasons = {*_OTHER_REASONS, *(each.reason for each in others if each.reason)}
    if not re.fullmatch(r"[a-z][a-z0-9_]*", loaded.name):
        return f"has the name {loaded.name!r}; give small letters, digits and underscores"
    if loaded.name in names:
        return f"has the name {loaded.name!r}, which another column has; give another name"
    if loaded.score is None:
        return "has no score; give a function of a Picture"
    if loaded.reason is None:
        return None if loaded.threshold is None else "has a threshold and no reason; give both or neither"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", loaded.reason):
        return f"has the reason {loaded.reason!r}; give small letters, digits and underscores"
    if loaded.reason in reasons:
        return f"has the reason {loaded.reason!r}, which another filter has; give another reason"
    if loaded.threshold is None or not math.isfinite(loaded.threshold):
        return f"has the threshold {loaded.threshold}; give a finite number"
    return None


def _blaming(title: str, score: Callable[[Picture], float]) -> Callable[[Picture], float]:
    """The score, with the filter's name in what it raises: else a video would be called undecodable for it."""

    def named(picture: Picture) -> float:
        try:
            return float(score(picture))
        except Exception as error:
            raise FilterError(f"the filter {title} failed: {type(error).__name__}: {error}; repair or uninstall its package") from error

    return named
