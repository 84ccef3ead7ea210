"""What becomes of a box that the detector found: confirmed, unconfirmed or refuted; and in which samples it is hidden.

A box is confirmed or unconfirmed by the number of characters that are read in it. Fewest are needed if its strokes stood still while the
camera moved, most if they were gone then. Unconfirmed at least are a box beside confirmed text, and one as long as a line unless its
strokes were gone: the reader may not know its script. All others are refuted, and not hidden.
The bounds are from tests/benchmarks/bench_burned_text.py.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np

from curation.privacy.text_boxes import Box, around, is_inside, is_line, is_near, overlap, padded

__all__ = ["OVERVIEW", "Finding", "Look", "TextMask", "lasting_text", "masks_by_sample", "same_place", "verdict_of"]

OVERVIEW = -1
"""position of a look at a picture from before the first sample"""
_CONFIRMED = 1.8  # characters read: fields of two, such as "12" and "A3", are read as 1.9 and more
_SURE = 4.0  # characters read, from which it does not matter whether the strokes stood: tissue of one moment was once read as 3.3
_DOUBTED = 1.6  # characters read: tissue reaches 1.5
_STROKES = 0.8  # characters read: instruments and highlights that stand still are read as less
_SAME_PLACE = 0.5  # of the smaller box
_GROWN = 3.0  # times the first box of a place
_OTHER_PICTURE = 1.0  # mean luma difference of thumbnails

Verdict = Literal["confirmed", "unconfirmed", "refuted"]


@dataclass(slots=True, kw_only=True)
class Finding:
    """A box in one picture, and the evidence that it holds text."""

    box: Box
    characters: float
    """expected number of characters that are read rightly"""
    stood: bool | None = None
    """whether its strokes stood still while the camera moved; None if the camera has not moved since"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # arrays do not compare
class Look:
    """What was found in one picture."""

    position: int
    """number of the sample, or OVERVIEW"""
    findings: tuple[Finding, ...] = ()
    is_whole: bool = True
    """the whole picture was searched, not only where something hinted at text"""
    thumbnail: np.ndarray | None = None
    """a small grey copy of the picture: the same picture found twice proves no more than once"""
    failure: str | None = None


class TextMask(NamedTuple):
    """What is painted black in one sample, padded."""

    boxes: tuple[Box, ...]
    unconfirmed: tuple[Box, ...]
    """those of `boxes` that are neither proven to hold text nor proven not to"""


@dataclass(slots=True)
class _Place:
    """Where confirmed text was found, in one picture or several."""

    box: Box
    first_area: int
    looks: list[Look]

    def num_pictures(self) -> int:
        return 1 + sum(_is_other_picture(one, other) for one, other in zip(self.looks, self.looks[1:], strict=False))


def verdict_of(finding: Finding, confirmed: Sequence[Box] = ()) -> Verdict:
    """What the evidence says of a finding; `confirmed` are boxes of text in the same picture."""
    least = {True: _DOUBTED, None: _CONFIRMED, False: _SURE}[finding.stood]
    if finding.characters >= least:
        return "confirmed"
    least = {True: _STROKES, None: _DOUBTED, False: _CONFIRMED}[finding.stood]
    is_unread = finding.stood is not False and is_line(finding.box)
    is_beside = any(is_near(finding.box, box) for box in confirmed)
    return "unconfirmed" if finding.characters >= least or is_unread or is_beside else "refuted"


def lasting_text(looks: Sequence[Look]) -> tuple[Box, ...]:
    """Boxes in which text is confirmed in two different pictures."""
    return tuple(place.box for place in _places(looks) if place.num_pictures() > 1)


def masks_by_sample(looks: Sequence[Look], num_samples: int) -> list[TextMask | None]:
    """What is hidden in each sample; None for a sample that was not checked, because a look before or after it failed.

    Confirmed text is hidden up to the second look before its first sighting and the second after its last that do not see it; the first,
    if it was seen in one picture only. Text of two overview pictures is hidden throughout. Unconfirmed boxes are hidden up to the looks
    before and after. Only looks at the whole picture end a mask.
    """
    whole = sorted(look.position for look in looks if look.is_whole and look.position != OVERVIEW)
    failed = [look.position for look in looks if look.failure and look.position != OVERVIEW]
    confirmed: list[set[Box]] = [set() for _ in range(num_samples)]
    unconfirmed: list[set[Box]] = [set() for _ in range(num_samples)]
    places = _places(looks)
    for place in places:
        num_misses = 2 if place.num_pictures() > 1 else 1
        is_throughout = num_misses == 2 and sum(look.position == OVERVIEW for look in place.looks) > 1
        for look in place.looks:
            span = range(num_samples) if is_throughout else _span(look.position, whole, num_misses, num_samples)
            for position in span:
                confirmed[position].add(padded(place.box))
    for look in looks:
        known = _confirmed_in(look)
        for finding in look.findings:
            if verdict_of(finding, known) == "unconfirmed":
                for position in _span(look.position, whole, 1, num_samples):
                    unconfirmed[position].add(padded(finding.box))
    result: list[TextMask | None] = []
    for position in range(num_samples):
        if not whole or any(position in _span(miss, whole, 1, num_samples) for miss in failed):
            result.append(None)
            continue
        doubtful = sorted(box for box in unconfirmed[position] if not is_inside(box, tuple(confirmed[position])))
        result.append(TextMask(tuple(sorted({*confirmed[position], *doubtful})), tuple(doubtful)))
    return result


def same_place(box: Box, place: Box) -> bool:
    """Whether one box lies half in the other."""
    return overlap(box, place) >= _SAME_PLACE


def _span(position: int, whole: Sequence[int], num_misses: int, num_samples: int) -> range:
    """The samples between the nth look at the whole picture before a position and the nth after it, without these two."""
    if position == OVERVIEW:
        return range(0)
    before = bisect.bisect_left(whole, position) - num_misses
    after = bisect.bisect_right(whole, position) + num_misses - 1
    return range(whole[before] + 1 if before >= 0 else 0, whole[after] if after < len(whole) else num_samples)


def _confirmed_in(look: Look) -> list[Box]:
    return [finding.box for finding in look.findings if verdict_of(finding) == "confirmed"]


def _places(looks: Sequence[Look]) -> list[_Place]:
    """Where text was confirmed, with every look that found anything there.

    A place grows with its boxes, for a clock's digits are not equally wide; a box that would make it three times as large starts another.
    """
    places: list[_Place] = []
    for look in looks:
        for box in _confirmed_in(look):
            if not any(_belongs(box, place) for place in places):
                places.append(_Place(box, box.width * box.height, []))
    for look in looks:
        for finding in look.findings:
            place = next((place for place in places if _belongs(finding.box, place)), None)
            if place:
                place.box = around(finding.box, place.box)
                if look not in place.looks[-1:]:
                    place.looks.append(look)
    return places


def _belongs(box: Box, place: _Place) -> bool:
    grown = around(box, place.box)
    return same_place(box, place.box) and grown.width * grown.height <= _GROWN * place.first_area


def _is_other_picture(one: Look, other: Look) -> bool:
    if one.thumbnail is None or other.thumbnail is None:
        return one.position != other.position
    return cv2.mean(cv2.absdiff(one.thumbnail, other.thumbnail))[0] >= _OTHER_PICTURE
