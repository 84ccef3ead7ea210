"""The evidence that a box found by the detector holds text: confirmed, unconfirmed or refuted.

A box is confirmed or unconfirmed by the number of characters that are read in it. Fewest are needed if its strokes stood still while the
camera moved, most if they were gone then. Unconfirmed at least are a box beside confirmed text, and one as long as a line unless its
strokes were gone: the reader may not know its script. All others are refuted, and not hidden.
The bounds are from tests/benchmarks/bench_burned_text.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from curation.privacy.standing_edges import camera_moved, stands
from curation.privacy.text_boxes import Box, is_line, is_near, overlap

__all__ = ["Detection", "Search", "confirmed_boxes", "finds_new", "proven", "same_place", "still_there", "verdict_of"]

_CONFIRMED = {True: 1.6, None: 1.8, False: 4.0}
"""characters read in confirmed text, by whether its strokes stood still (None: not known): tissue reaches 1.5, and of one moment once 3.3;
fields of two, such as "12" and "A3", are read as 1.9 and more"""
_UNCONFIRMED = {True: 0.8, None: 1.6, False: 1.8}
"""characters read in unconfirmed text, likewise: instruments and highlights that stand still are read as less than 0.8"""
_SAME_PLACE = 0.5  # of the smaller box

Verdict = Literal["confirmed", "unconfirmed", "refuted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """A box in one picture, and the evidence that it holds text."""

    box: Box
    characters: float
    """expected number of characters that are read rightly"""
    stood: bool | None = None
    """whether its strokes stood still while the camera moved; None if the camera has not moved since"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # arrays do not compare
class Search:
    """One picture that was searched for text."""

    position: int | None
    """number of the sample; None for a picture from before the first one"""
    thumbnail: np.ndarray
    """a small grey copy of the picture: the same picture found twice proves no more than once"""
    detections: tuple[Detection, ...] = ()
    is_whole: bool = True
    """the whole picture was searched, not only parts of it"""
    failure: str | None = None
    """why it could not be searched"""
    edges: np.ndarray | None = None
    """the sample's edges, as long as later samples may prove what stands still"""


def verdict_of(detection: Detection, confirmed: Sequence[Box] = ()) -> Verdict:
    """What the evidence says of a detection; `confirmed` are boxes of text in the same picture."""
    if detection.characters >= _CONFIRMED[detection.stood]:
        return "confirmed"
    is_read = detection.characters >= _UNCONFIRMED[detection.stood]
    is_unread_line = detection.stood is not False and is_line(detection.box)
    is_beside = any(is_near(detection.box, box) for box in confirmed)
    return "unconfirmed" if is_read or is_unread_line or is_beside else "refuted"


def confirmed_boxes(search: Search) -> list[Box]:
    """Boxes of confirmed text in one picture."""
    return [detection.box for detection in search.detections if verdict_of(detection) == "confirmed"]


def same_place(box: Box, place: Box) -> bool:
    """Whether one box lies half in the other."""
    return overlap(box, place) >= _SAME_PLACE


def proven(search: Search, now: np.ndarray) -> Search:
    """The search, and of each detection whether its strokes stood still if the camera has moved by the sample with the edges `now`."""
    before, found = search.edges, search.detections
    if before is None or all(each.stood is not None for each in found) or not camera_moved(before, now, [each.box for each in found]):
        return search
    return replace(
        search,
        detections=tuple(each if each.stood is not None else replace(each, stood=stands(before, now, each.box)) for each in found),
    )


def still_there(earlier: Sequence[Search], found: Sequence[Detection], now: np.ndarray) -> list[Detection]:
    """Detections of earlier searches that stood still, and still do in the sample with the edges `now`, though not `found` again."""
    return [
        replace(old, stood=True)
        for search in earlier
        for old in search.detections
        if old.stood
        and search.edges is not None
        and stands(search.edges, now, old.box)
        and not any(same_place(old.box, new.box) for new in found)
    ]


def finds_new(search: Search, earlier: Sequence[Search]) -> bool:
    """Whether a search finds what may be text at a place where the earlier ones found nothing."""
    confirmed = confirmed_boxes(search)
    known = [detection.box for other in earlier for detection in other.detections]
    return any(
        verdict_of(detection, confirmed) != "refuted" and not any(same_place(detection.box, box) for box in known)
        for detection in search.detections
    )
