"""Text burned into the picture: found over the time of a video, and blacked out wherever it may be.

The network's answer for every sample would cost half as much as decoding, and an overlay stands still. So the network looks at pictures
spread over the video, then at a sample every twenty seconds, and at once where a picture freezes, where something sharp has come to stand
still while the camera moves, or appears while it does not. Text that two looks find at one place of different pictures is taken to be there
throughout; text that one look finds, from the look before to the look after, which follows as soon as the camera has moved: a highlight
is gone by then, and what still stands there stays hidden. A sample whose neighbouring looks failed was never checked, and must not pass.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from curation.text_detector import Box, TextCheckFailed, find_text, load_text_detector

__all__ = ["OVERVIEW", "Look", "TextWatch", "blacked_out", "cropped_away", "not_covered"]

OVERVIEW = -1
"""position of a look at a picture from before the first sample"""
_EDGE = 60  # of a Sobel gradient, which is 4 times the step in luma: letters a little brighter than what is behind them
_BLOCK = (32, 16)  # a few letters, at 512 pixels
_NEARBY = np.ones((5, 5), np.uint8)  # blocks within two of each other
_STATIC_SHARE = 0.15  # of a block's pixels
_MOVING = 2.0  # mean luma difference to the previous sample, under which everything stands still
_LARGE_SHARE = 0.4  # of the picture, from which a look at all of it is as well
_SHORTEST_US = 1_000_000  # between two looks at the whole picture, however often it freezes
_PADDING = 3  # pixels of the stored frame
_SAME_PLACE = 0.5  # of the smaller box
_GROWN = 3.0  # times the first box of a place
_THUMBNAIL = (32, 24)
_SAME_PICTURE = 1.0  # mean luma difference of thumbnails: the first sample is a picture of the overview once more
_STANDS = 0.5  # of a box's edges, from which what it holds stood still


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the network found in one picture."""

    position: int
    """number of the sample, or OVERVIEW"""
    boxes: tuple[Box, ...]
    is_whole: bool = True
    """at the whole picture, not only where something hinted at text"""
    failure: str | None = None


class _Place(NamedTuple):
    box: Box
    num_looks: int
    first_area: int
    thumbnail: np.ndarray
    """of the picture that was counted last"""


@dataclass(slots=True, kw_only=True)
class TextWatch:
    """Looks for text while a video's samples pass, oftener where something hints at it."""

    interval_us: int
    """of presentation time between two looks at most; 0 looks at every sample"""
    inside: np.ndarray | None = None
    """[height, width] uint8, 0 where nothing is looked for: the border of the content area is sharp and stands still as well"""
    looks: list[Look] = field(default_factory=list)
    _places: list[_Place] = field(default_factory=list)
    _previous: np.ndarray | None = None
    _edges: np.ndarray | None = None
    _answered: np.ndarray | None = None
    _is_still: bool = True
    _owes_look: bool = False
    _doubts: dict[Box, np.ndarray] = field(default_factory=dict)
    """what single looks have found, with the edges that were in it"""
    _owes_proof: bool = False
    _last_us: int | None = None

    def restarted(self) -> TextWatch:
        """One that knows what this one was shown before the first sample, for another try with another decoder."""
        return TextWatch(interval_us=self.interval_us, inside=self.inside, looks=[*self.looks], _places=[*self._places])

    @property
    def lasting(self) -> tuple[Box, ...]:
        """Where two looks so far have found text."""
        return tuple(place.box for place in self._places if place.num_looks > 1)

    def look(self, rgb: np.ndarray, position: int = OVERVIEW, parts: Sequence[Box] = ()) -> tuple[Box, ...]:
        """Run the network on a picture of the stored size, or on parts of it, and note what it says."""
        try:
            found = [box for part in parts or (None,) for box in find_text(rgb, load_text_detector(), part)]
        except TextCheckFailed as failure:
            self.looks.append(Look(position=position, boxes=(), failure=str(failure)))
            return ()
        _remember(self._places, found, _thumbnail(rgb))
        boxes = tuple(dict.fromkeys([*found, *([] if parts else self._standing())]))
        self.looks.append(Look(position=position, boxes=boxes, is_whole=not parts))
        self._doubt(boxes, replace=not parts)
        return boxes

    def _standing(self) -> list[Box]:
        """The doubted boxes in which most edges are where they were, though the network may not see text in them now."""
        if self._edges is None:
            return []
        edges = self._edges
        return [box for box, before in self._doubts.items() if np.any(before) and _kept(before, _inside(edges, box)) >= _STANDS]

    def _doubt(self, boxes: Sequence[Box], *, replace: bool) -> None:
        """Note what only one look has found: a look follows as soon as the camera has moved."""
        if self._edges is None:
            return
        edges, known = self._edges, {} if replace else self._doubts
        new = {box: _inside(edges, box).copy() for box in boxes if not any(_around(box, other) == other for other in self.lasting)}
        self._owes_proof = bool(new.keys() - self._doubts.keys()) or (self._owes_proof and not replace)
        self._doubts = known | new

    def see(self, rgb: np.ndarray, position: int, pts_us: int) -> tuple[Box, ...]:
        """Take the next sample, [height, width, 3] uint8 at the stored size; returns what is known by now to be text in it."""
        hints = self._hints(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
        since_us = None if self._last_us is None else pts_us - self._last_us
        parts = _around_blocks(hints)
        is_large = sum(part.width * part.height for part in parts) > _LARGE_SHARE * rgb.shape[0] * rgb.shape[1]
        is_due = since_us is None or since_us >= self.interval_us or is_large or (self._owes_look and since_us >= _SHORTEST_US)
        is_proof = self._owes_proof and not self._is_still
        if is_due or (is_proof and since_us is not None and since_us >= _SHORTEST_US):
            self.look(rgb, position)
            self._owes_proof &= is_due  # what a proof finds waits for the next look: among highlights there would be no end
            self._last_us, self._owes_look = pts_us, False
        elif parts:
            self.look(rgb, position, parts)
        return tuple(dict.fromkeys(_padded(box) for box in (*self.lasting, *self._latest())))

    def _latest(self) -> Iterator[Box]:
        """What was found since the last look at the whole picture, that look included."""
        for look in reversed(self.looks):
            yield from look.boxes
            if look.is_whole:
                return

    def by_sample(self, num_samples: int) -> list[tuple[Box, ...] | None]:
        """What counts as text in each sample; None for a sample that was not checked, because a look before or after it failed."""
        timed = [look for look in self.looks if look.position != OVERVIEW]
        whole = [look for look in timed if look.is_whole]
        lasting = self.lasting
        result: list[tuple[Box, ...] | None] = []
        for position in range(num_samples):
            near = _nearest(whole, position)
            if not near or any(look.failure for look in near):
                result.append(None)
            else:
                result.append(tuple(sorted({*lasting, *(box for look in (*near, *_nearest(timed, position)) for box in look.boxes)})))
        return result

    def _hints(self, gray: np.ndarray) -> np.ndarray:
        """[rows, columns] bool: blocks that may hold new text, for which nobody has looked yet."""
        edges = _directed_edges(gray)
        previous, before = self._previous, self._edges
        self._previous, self._edges = gray, edges
        rows, columns = max(1, gray.shape[0] // _BLOCK[1]), max(1, gray.shape[1] // _BLOCK[0])
        if previous is None or before is None:
            return np.zeros((rows, columns), bool)
        was_still, self._is_still = self._is_still, cv2.mean(cv2.absdiff(gray, previous))[0] < _MOVING
        if self._is_still:
            self._owes_look |= not was_still  # whatever came with the freeze stands as still as the rest
            nearby = cv2.dilate(before, np.ones((5, 5), np.uint8))
            sharp = cv2.bitwise_and(cv2.inRange(edges, 1, 255), cv2.inRange(nearby, 0, 0), mask=self.inside)
        else:
            sharp = cv2.inRange(cv2.bitwise_and(edges, before, mask=self.inside), 1, 255)
        for box in self.lasting:
            sharp[box.y : box.y + box.height, box.x : box.x + box.width] = 0
        blocks = cv2.resize(sharp, (columns, rows), interpolation=cv2.INTER_AREA) > 255 * _STATIC_SHARE
        answered = self._answered if self._answered is not None else np.zeros_like(blocks)
        self._answered = blocks  # every hint is answered at once; what has moved on may be something else when it comes back
        return np.asarray(blocks & ~answered)


def _nearest(looks: Sequence[Look], position: int) -> list[Look]:
    """The looks at a sample, or the last before and the first after it."""
    first = bisect.bisect_left(looks, position, key=lambda look: look.position)
    last = bisect.bisect_right(looks, position, key=lambda look: look.position)
    return list(looks[first:last]) or list(looks[max(0, first - 1) : first + 1])


def _around_blocks(blocks: np.ndarray) -> list[Box]:
    """The parts of the picture that hold the marked blocks, each with room for the rest of a line; what is near belongs together."""
    count, labels = cv2.connectedComponents(cv2.dilate(blocks.astype(np.uint8), _NEARBY))
    parts = []
    for number in range(1, count):
        rows, columns = np.nonzero(blocks & (labels == number))
        x, y = max(0, (int(columns.min()) - 1) * _BLOCK[0]), max(0, (int(rows.min()) - 2) * _BLOCK[1])
        parts.append(Box(x, y, (int(columns.max()) + 2) * _BLOCK[0] - x, (int(rows.max()) + 3) * _BLOCK[1] - y))
    return parts


def _directed_edges(gray: np.ndarray) -> np.ndarray:
    """[height, width] uint8: which of the four directions a sharp step from dark to bright has, one bit each.

    Edges of tissue that happen to lie where another lay before mostly run the other way, so a letter is told from them by its direction.
    """
    edges = np.zeros(gray.shape, np.uint8)
    for axis, (dx, dy) in enumerate(((1, 0), (0, 1))):
        step = cv2.Sobel(gray, cv2.CV_16S, dx, dy)
        for sign, (low, high) in enumerate(((_EDGE, 32767), (-32768, -_EDGE))):
            bit = np.full_like(edges, 1 << (2 * axis + sign))
            edges = np.asarray(cv2.bitwise_or(edges, cv2.bitwise_and(cv2.inRange(step, low, high), bit)), np.uint8)
    return edges


def _inside(values: np.ndarray, box: Box) -> np.ndarray:
    return values[box.y : box.y + box.height, box.x : box.x + box.width]


def _kept(before: np.ndarray, now: np.ndarray) -> float:
    """Share of the edges that are there still, in the same direction."""
    return float(np.count_nonzero(before & now) / np.count_nonzero(before))


def _thumbnail(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.resize(rgb, _THUMBNAIL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)


def _remember(places: list[_Place], boxes: Sequence[Box], thumbnail: np.ndarray) -> None:
    """Count one look's boxes towards the places at which they lie; a place grows with them, for a clock's digits are not equally wide.

    A second look at the same picture proves nothing and is not counted.
    """
    seen: set[int] = set()
    for box in boxes:
        number = next((n for n, place in enumerate(places) if _belongs(box, place)), len(places))
        if number == len(places):
            places.append(_Place(box, 1, box.width * box.height, thumbnail))
        else:
            place = places[number]
            counts = number not in seen and cv2.mean(cv2.absdiff(thumbnail, place.thumbnail))[0] >= _SAME_PICTURE
            places[number] = place._replace(
                box=_around(box, place.box),
                num_looks=place.num_looks + counts,
                thumbnail=thumbnail if counts else place.thumbnail,
            )
        seen.add(number)


def _belongs(box: Box, place: _Place) -> bool:
    """Whether the box lies at the place, and does not make another place of it."""
    around = _around(box, place.box)
    return _overlap(box, place.box) >= _SAME_PLACE and around.width * around.height <= _GROWN * place.first_area


def _overlap(one: Box, other: Box) -> float:
    """Share of the smaller box that lies in the other."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(0, width) * max(0, height) / min(one.width * one.height, other.width * other.height)


def _around(one: Box, other: Box) -> Box:
    x, y = min(one.x, other.x), min(one.y, other.y)
    right, bottom = max(one.x + one.width, other.x + other.width), max(one.y + one.height, other.y + other.height)
    return Box(x, y, right - x, bottom - y)


@functools.lru_cache(maxsize=256)  # every sample holds its boxes: let them be the same objects
def _padded(box: Box) -> Box:
    """A little larger, so that a place need not be painted again when a later look sees it a pixel wider."""
    x, y = max(0, box.x - _PADDING), max(0, box.y - _PADDING)
    return Box(x, y, box.x + box.width + _PADDING - x, box.y + box.height + _PADDING - y)


def not_covered(boxes: Sequence[Box], by: Sequence[Box]) -> tuple[Box, ...]:
    """Those boxes that lie in none of the others, padded for painting."""
    return tuple(_padded(box) for box in boxes if not any(_around(box, other) == other for other in by))


def blacked_out(rgb: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Paint the boxes black, in place."""
    for box in boxes:
        rgb[box.y : box.y + box.height, box.x : box.x + box.width] = 0
    return rgb


def cropped_away(size: tuple[int, int], boxes: Sequence[Box], *, least_share: float = 0.6) -> Box:
    """The part of a picture of `size` = (width, height) that is left when each box is cut off at the side where that costs least.

    A box whose cut would leave less than `least_share` of the picture stays in: it must be blacked out.
    """
    left, top, right, bottom = 0, 0, *size
    for box in boxes:
        if box.x >= right or box.y >= bottom or box.x + box.width <= left or box.y + box.height <= top:
            continue
        cuts = (
            (max(left, box.x + box.width), top, right, bottom),
            (left, max(top, box.y + box.height), right, bottom),
            (left, top, min(right, box.x), bottom),
            (left, top, right, min(bottom, box.y)),
        )
        best = max(cuts, key=lambda cut: (cut[2] - cut[0]) * (cut[3] - cut[1]))
        if (best[2] - best[0]) * (best[3] - best[1]) >= least_share * size[0] * size[1]:
            left, top, right, bottom = best
    return Box(left, top, right - left, bottom - top)
