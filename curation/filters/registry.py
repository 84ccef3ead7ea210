"""All filters in the order in which their reasons apply: those of EndoForge itself, then installed ones by the names of their entry points.

A package adds a filter by an entry point of the group `endoforge.filters` that names a `FrameFilter`; examples/filter_example shows one.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from curation.filters.bubbles import BUBBLE_SHARE
from curation.filters.exposure import BRIGHT_SHARE, DARK_SHARE, HIGH_LUMA, LOW_LUMA
from curation.filters.frame_filter import Floats, FrameFilter, Picture
from curation.filters.motion import MOTION
from curation.filters.reflections import SPECULAR_SHARE
from curation.filters.sharpness import BLUR
from curation.filters.stool import STOOL_SHARE
from curation.filters.thresholds import ENTRY_POINTS
from warehouse.plug_ins import Group, PlugInError, load_all
from warehouse.schema import TABLES

__all__ = ["FILTERS", "FilterFailed", "frame_filters", "measure", "plug_ins", "score_names"]


class FilterFailed(PlugInError):
    """A filter of another package raised on a picture; the message says which, and what it raised."""


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
        PlugInError: an installed filter cannot be loaded, or clashes with another.
    """
    return tuple(sorted((*_BUILT_IN, *plug_ins()), key=lambda each: not each.is_private))


@functools.cache
def plug_ins() -> tuple[FrameFilter, ...]:
    """The filters of other packages, checked, by the names of their entry points.

    Raises:
        PlugInError: one cannot be loaded, or clashes with another.
    """
    return tuple(_blamed(title, loaded) for title, loaded in load_all(FILTERS))


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


def _fault(_: str, loaded: FrameFilter, installed: Sequence[FrameFilter]) -> str | None:
    """What makes a filter of another package unusable beside the others."""
    others = (*_BUILT_IN, *installed)
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


def _blamed(title: str, loaded: FrameFilter) -> FrameFilter:
    """The filter, with its name in what its functions raise: else a video would be called undecodable for it."""
    score, adjusted = loaded.score, loaded.adjusted
    assert score is not None

    def named_score(picture: Picture) -> float:
        try:
            return float(score(picture))
        except Exception as error:
            raise _failed(title, error) from error

    def named_adjusted(scores: Mapping[str, Floats]) -> Floats:
        assert adjusted is not None
        try:
            return np.broadcast_to(np.asarray(adjusted(scores), np.float32), scores[loaded.name].shape)
        except Exception as error:
            raise _failed(title, error) from error

    return replace(loaded, score=named_score, adjusted=named_adjusted if adjusted else None)


def _failed(title: str, error: Exception) -> FilterFailed:
    return FilterFailed(f"{title} failed: {type(error).__name__}: {' '.join(str(error).split())}")


FILTERS = Group(name=ENTRY_POINTS, kind="filter", record=FrameFilter, fault=_fault)
