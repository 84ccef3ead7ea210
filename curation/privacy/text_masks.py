"""What is hidden in each sample of a video, by all that was found in it."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
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


def lasting_text(searches: Sequence[Search]) -> tuple[Box, ...]:
    """Boxes in which text is confirmed in two different pictures."""
    return tuple(place.box for place in _places(searches) if place.is_lasting)


def masks_by_sample(searches: Sequence[Search], num_samples: int) -> list[TextMask | None]:
    """What is hidden in each sample; None for a sample that was not checked, because a search before or after it failed.

    Confirmed text is hidden up to the second search before its first sighting and the second after its last that do not see it; the first,
    if it was seen in one picture only. Text of two overview pictures is hidden throughout. Unconfirmed boxes are hidden up to the searches
    before and after. Only searches of the whole picture end a mask.
    """
    whole = sorted(search.position for search in searches if search.is_whole and search.position is not None)
    confirmed: list[set[Box]] = [set() for _ in range(num_samples)]
    unconfirmed: list[set[Box]] = [set() for _ in range(num_samples)]
    is_checked = [bool(whole)] * num_samples
    for place in _places(searches):
        is_lasting, box = place.is_lasting, padded(place.box)
        is_throughout = is_lasting and sum(search.position is None for search in place.searches) > 1
        for search in place.searches:
            near = _samples_near(search, whole, 2 if is_lasting else 1, num_samples)
            for position in range(num_samples) if is_throughout else near:
                confirmed[position].add(box)
    for search in searches:
        near = _samples_near(search, whole, 1, num_samples)
        known = confirmed_boxes(search)
        doubtful = [padded(each.box) for each in search.detections if verdict_of(each, known) == "unconfirmed"]
        for position in near if doubtful or search.failure else ():
            unconfirmed[position].update(doubtful)
            is_checked[position] &= not search.failure
    return [_mask(confirmed[n], unconfirmed[n]) if is_checked[n] else None for n in range(num_samples)]


def _mask(confirmed: set[Box], unconfirmed: set[Box]) -> TextMask:
    doubtful = sorted(box for box in unconfirmed if not is_inside(box, tuple(confirmed)))
    return TextMask(tuple(sorted({*confirmed, *doubtful})), tuple(doubtful))


def _samples_near(search: Search, whole: Sequence[int], num_searches: int, num_samples: int) -> range:
    """The samples between the nth search of the whole picture before this one and the nth after it, without these two."""
    if search.position is None:
        return range(0)
    before = bisect.bisect_left(whole, search.position) - num_searches
    after = bisect.bisect_right(whole, search.position) + num_searches - 1
    return range(whole[before] + 1 if before >= 0 else 0, whole[after] if after < len(whole) else num_samples)


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
