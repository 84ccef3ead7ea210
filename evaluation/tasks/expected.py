"""The counts that a publication states for its images, and how a download differs from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.tasks.items import Item

__all__ = ["TOLERANCE", "Difference", "Expected", "by_label", "difference"]

TOLERANCE = 0.01
"""Largest share of a class by which a set may differ from the publication and still be scored under its name; one image may always."""


def by_label(items: Sequence[Item]) -> Mapping[str, int]:
    """Images of each class; of masks, all images as one."""
    return Counter("images" if item.label is None else item.label for item in items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Published counts."""

    counts: Mapping[str, int]
    """by the names that `tally` gives; other names are not compared"""
    tally: Callable[[Sequence[Item]], Mapping[str, int]] = by_label
    """what is counted: images of each class unless given"""


@dataclass(frozen=True, slots=True)
class Difference:
    """How a set differs from its publication."""

    sentence: str
    """each count that differs, as found and as published"""
    is_other_set: bool
    """whether so much differs that a score would not be of the published set"""


def difference(expected: Expected, items: Sequence[Item]) -> Difference | None:
    """Compare what was read with what was published; None if every count agrees."""
    found = expected.tally(items)
    pairs = {name: (found.get(name, 0), count) for name, count in expected.counts.items()}
    differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if not differing:
        return None
    sentence = ", ".join(f"{name} {have:,} of {published:,}" for name, (have, published) in differing.items())
    is_other_set = any(abs(have - published) > max(1, TOLERANCE * published) for have, published in differing.values())
    return Difference(sentence, is_other_set)
