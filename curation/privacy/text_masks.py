"""What is hidden in each sample of a video, by all that was found in it."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import cv2

from curation.privacy.text_boxes import Box, around, is_inside, padded
from curation.privacy.text_evidence import Search, confirmed_boxes, same_place, verdict_of

__all__ = ["TextMask", "lasting_text", "masks_by_sample"]

_GROWN = 3.0  # times the first box of a place
_OTHER_PICTURE = 1.0  # mean luma difference of thumbnails


class TextMask(NamedTuple):
    """What is painted black in one sample, padded."""

    boxes: tuple[Box, ...]
    unconfirmed: tuple[Box, ...]
    """those of `boxes` that are neither proven to hold text nor proven not to"""


class _Place(NamedTuple):
    """Where confirmed text was found, in one picture or several."""

    box: Box
    searches: tuple[Search, ...]
    """those that found anything there"""

    @property
    def is_lasting(self) -> bool:
        """Whether it was found in two different pictures."""
        pairs = zip(self.searches, self.searches[1:], strict=False)
        return any(cv2.mean(cv2.absdiff(one.thumbnail, other.thumbnail))[0] >= _OTHER_PICTURE for one, other in pairs)


class _Timeline(NamedTuple):
    """The samples of a video, and those of them that were searched whole."""

    num_samples: int
    whole: list[int]
    """positions, in order"""

    def around(self, position: int | None, num_searches: int) -> range:
        """The samples between the nth whole search before a position and the nth after it, without these two."""
        if position is None:
            return range(0)
        before = bisect.bisect_left(self.whole, position) - num_searches
        after = bisect.bisect_right(self.whole, position) + num_searches - 1
        start = self.whole[before] + 1 if before >= 0 else 0
        return range(start, self.whole[after] if after < len(self.whole) else self.num_samples)


def lasting_text(searches: Sequence[Search]) -> tuple[Box, ...]:
    """Boxes in which text is confirmed in two different pictures."""
    return tuple(place.box for place in _places(searches) if place.is_lasting)


def masks_by_sample(searches: Sequence[Search], num_samples: int) -> list[TextMask | None]:
    """What is hidden in each sample; None for a sample that was not checked, because a search before or after it failed.

    Confirmed text is hidden up to the second search before its first sighting and the second after its last that do not see it; the first,
    if it was seen in one picture only. Text of two overview pictures is hidden throughout. Unconfirmed boxes are hidden up to the searches
    before and after. Only searches of the whole picture end a mask.
    """
    timeline = _Timeline(num_samples, sorted(each.position for each in searches if each.is_whole and each.position is not None))
    failed = [timeline.around(search.position, 1) for search in searches if search.failure]
    unchecked = {position for span in failed for position in span}
    confirmed = _boxes_by_sample(_confirmed_spans(searches, timeline), num_samples)
    unconfirmed = _boxes_by_sample(_unconfirmed_spans(searches, timeline), num_samples)
    return [
        _mask(confirmed[position], unconfirmed[position]) if timeline.whole and position not in unchecked else None
        for position in range(num_samples)
    ]


def _mask(confirmed: set[Box], unconfirmed: set[Box]) -> TextMask:
    doubtful = sorted(box for box in unconfirmed if not is_inside(box, tuple(confirmed)))
    return TextMask(tuple(sorted({*confirmed, *doubtful})), tuple(doubtful))


def _boxes_by_sample(spans: Iterable[tuple[Box, range]], num_samples: int) -> list[set[Box]]:
    """The boxes of each sample, padded, from the samples of each box."""
    boxes: list[set[Box]] = [set() for _ in range(num_samples)]
    for box, span in spans:
        for position in span:
            boxes[position].add(padded(box))
    return boxes


def _confirmed_spans(searches: Sequence[Search], timeline: _Timeline) -> Iterator[tuple[Box, range]]:
    """Each place of confirmed text with the samples in which it is hidden, search by search."""
    for place in _places(searches):
        if place.is_lasting and sum(search.position is None for search in place.searches) > 1:
            yield place.box, range(timeline.num_samples)
        for search in place.searches:
            yield place.box, timeline.around(search.position, 2 if place.is_lasting else 1)


def _unconfirmed_spans(searches: Sequence[Search], timeline: _Timeline) -> Iterator[tuple[Box, range]]:
    """Each unconfirmed box with the samples in which it is hidden."""
    for search in searches:
        known = confirmed_boxes(search)
        for detection in search.detections:
            if verdict_of(detection, known) == "unconfirmed":
                yield detection.box, timeline.around(search.position, 1)


def _places(searches: Sequence[Search]) -> list[_Place]:
    """Where text was confirmed, with every search that found anything there.

    A place grows with its boxes, for a clock's digits are not equally wide; a box that would make it three times as large starts another.
    """
    firsts: list[Box] = []
    for box in (box for search in searches for box in confirmed_boxes(search)):
        if not any(_belongs(box, first, first) for first in firsts):
            firsts.append(box)
    places = [_Place(first, ()) for first in firsts]
    for search in searches:
        for box in (detection.box for detection in search.detections):
            number = next((n for n, place in enumerate(places) if _belongs(box, place.box, firsts[n])), None)
            if number is not None:
                grown, seen = places[number]
                places[number] = _Place(around(box, grown), seen if search in seen[-1:] else (*seen, search))
    return places


def _belongs(box: Box, place: Box, first: Box) -> bool:
    """Whether a box is of a place, which has grown from its `first` box."""
    return same_place(box, place) and around(box, place).area <= _GROWN * first.area
