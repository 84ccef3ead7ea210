"""Text tracking: when a video's samples are searched for burned-in text.

An overlay stands still, so not every sample is searched. The whole picture is searched every twenty seconds, when a picture freezes, and
once the camera has moved after something new was found. Parts are searched when sharp edges in them stand still while the camera moves, or
appear while it does not. What is found is read. curation/privacy/text_evidence.py says what that proves, and
curation/privacy/text_masks.py what is hidden, once all samples have passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from curation.privacy.standing_edges import SampleEdges, next_edges
from curation.privacy.text_boxes import Box
from curation.privacy.text_detector import TextCheckFailed, find_text, load_text_detector
from curation.privacy.text_evidence import Detection, Search, confirmed_boxes, finds_new, proven, still_there
from curation.privacy.text_masks import TextMask, masks_by_sample
from curation.privacy.text_reader import characters_read, load_text_reader

__all__ = ["TextTracker", "search_text"]

_LARGE_SHARE = 0.4  # of the picture: parts that cover more are searched as the whole picture
_SHORTEST_US = 1_000_000  # between two searches of the whole picture, however often it freezes
_THUMBNAIL = (32, 24)
_BORDER = np.ones((9, 9), np.uint8)  # pixels of the content area whose edges do not count: its border is sharp and stands still as well


def search_text(rgb: np.ndarray, *, position: int | None = None, parts: Sequence[Box] = ()) -> Search:
    """Search a picture of the stored size, [height, width, 3] uint8, or parts of it, and read what is found."""
    thumbnail = cv2.cvtColor(cv2.resize(rgb, _THUMBNAIL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    search = Search(position=position, thumbnail=thumbnail, is_whole=not parts)
    try:
        boxes = dict.fromkeys(box for part in parts or (None,) for box in find_text(rgb, load_text_detector(), part))
        found = [Detection(box=box, characters=characters_read(rgb, box, load_text_reader())) for box in boxes]
    except TextCheckFailed as failure:
        return replace(search, failure=str(failure))
    return replace(search, detections=tuple(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schedule:
    """When the whole picture is searched next."""

    interval_us: int
    last_us: int | None = None
    """when it was searched last"""
    has_frozen: bool = False
    """a picture has frozen since: what came with it stands as still as the rest"""
    has_new: bool = False
    """something new was found then or since, of which another picture says more"""

    def is_due(self, pts_us: int, *, is_still: bool) -> bool:
        """Whether to search a sample, which may show the same picture as the one before."""
        if self.last_us is None:
            return True
        is_wanted = self.has_frozen or (self.has_new and not is_still)
        return pts_us - self.last_us >= (min(self.interval_us, _SHORTEST_US) if is_wanted else self.interval_us)


class TextTracker:
    """Searches a video's samples for text as they pass, and says at the end what is hidden in each."""

    def __init__(self, *, interval_us: int, content: np.ndarray, overview: Sequence[Search]) -> None:
        """Start before the first sample.

        Args:
            interval_us: presentation time between two searches of the whole picture at most; 0 searches every sample.
            content: [height, width] uint8, 0 outside the content area of the samples.
            overview: searches of pictures spread over the video.
        """
        self._inside = cv2.erode(content, _BORDER)
        self._schedule = _Schedule(interval_us=interval_us)
        self._num_samples = 0
        self._edges: SampleEdges | None = None
        self._closed = list(overview)
        self._open: list[Search] = []  # the last search of the whole picture and those of parts since: of these more can be proven

    @property
    def searches(self) -> list[Search]:
        """Every search up to now, in order."""
        return [*self._closed, *self._open]

    def add(self, rgb: np.ndarray, pts_us: int) -> None:
        """Take the next sample, [height, width, 3] uint8 at the stored size, and search it if that is due."""
        known = [box for search in self._open for box in confirmed_boxes(search)]
        now = self._edges = next_edges(rgb, self._edges, inside=self._inside, known=known)
        self._open = [proven(search, now.edges) for search in self._open]
        self._schedule = replace(self._schedule, has_frozen=self._schedule.has_frozen or now.has_frozen)
        is_large = sum(part.area for part in now.parts) > _LARGE_SHARE * now.gray.size
        if is_large or self._schedule.is_due(pts_us, is_still=now.is_still):
            self._search_whole(rgb, pts_us, now)
        elif now.parts:
            self._search_parts(rgb, now.parts, now)
        self._num_samples += 1

    def add_between(self, rgb: np.ndarray, parts: Sequence[Box]) -> None:
        """Take a sample between two others, of which those parts alone are searched; when others are searched does not depend on it."""
        height, width = rgb.shape[:2]
        is_large = sum(part.area for part in parts) > _LARGE_SHARE * height * width
        now = next_edges(rgb, None, inside=self._inside, known=())
        self._search_parts(rgb, (Box(0, 0, width, height),) if is_large else parts, now)
        self._num_samples += 1

    def masks(self) -> list[TextMask | None]:
        """What is hidden in each sample; None for one that was not checked, because a search before or after it failed."""
        return masks_by_sample(self.searches, self._num_samples)

    def _search_whole(self, rgb: np.ndarray, pts_us: int, now: SampleEdges) -> None:
        search = search_text(rgb, position=self._num_samples)
        found = (*search.detections, *still_there(self._open, search.detections, now.edges))
        search = replace(search, detections=found, edges=now.edges)
        self._schedule = replace(self._schedule, last_us=pts_us, has_frozen=False, has_new=finds_new(search, self._open))
        self._closed += [replace(earlier, edges=None) for earlier in self._open]
        self._open = [search]

    def _search_parts(self, rgb: np.ndarray, parts: Sequence[Box], now: SampleEdges) -> None:
        search = search_text(rgb, position=self._num_samples, parts=parts)
        self._schedule = replace(self._schedule, has_new=self._schedule.has_new or finds_new(search, self._open))
        self._open.append(replace(search, edges=now.edges if search.detections else None))
