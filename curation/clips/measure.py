"""Frames of one window as they pass: each is measured and searched for text as ingest does with its samples, and kept small."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import replace

import cv2
import numpy as np

from curation.clips.windows import Window
from curation.filters import shrink
from curation.ingest import IngestConfig, Sample, Survey, decide_film, measure_frame
from curation.privacy import Box, TextTracker, stroke_blocks, sudden_parts
from curation.video import SampledFrame

__all__ = ["STILL_US", "Piece", "clip_size"]

STILL_US = 1_000_000
"""time over which motion is measured: as long as between two samples of an ingest, whose threshold says what stands still"""


def clip_size(stored: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) of a clip whose stored frames have that size: the shorter side is `side`, the other in proportion and even."""
    scale = side / min(stored)
    width, height = (side if length == min(stored) else max(2, 2 * round(length * scale / 2)) for length in stored)
    return width, height


class Piece:
    """What was seen of one window, all of one size.

    Attributes:
        window: the time that is cut.
        survey: of the video at that size.
        size: (width, height) of the clip.
        samples: a record of each frame, in time order; with its verdict once `close` was called.
        pictures: each frame [height, width, 3] uint8 RGB at that size, black outside the content area and in insets.
    """

    def __init__(self, window: Window, survey: Survey, ingest: IngestConfig, *, side: int, text_us: int) -> None:
        """Start before the first frame.

        Args:
            window: the time that is cut.
            survey: of the video at the frames' size.
            ingest: settings by which frames are looked at.
            side: of the clip's shorter side in pixels.
            text_us: time between two looks for text at most; 0 searches every frame. A search takes up to 150 ms, for in film what stands
                still is no sign of text. Between looks each frame is compared with the one before it, and searched where strokes appear.
        """
        self.window, self.survey = window, survey
        self.size = clip_size(survey.geometry.stored_size, side)
        self.samples: list[Sample] = []
        self.pictures: list[np.ndarray] = []
        # nobody audits the doubtful boxes of a clip, so they stay, and no clip waits for that
        self._ingest = replace(ingest, store_private=False)
        self._text_us = text_us
        self._grays: deque[tuple[int, np.ndarray]] = deque()
        self._looks: list[int] = []
        """positions of the frames that were looked at for text"""
        self._looked_us: int | None = None
        """when all that is due was looked at last"""
        self._last: np.ndarray | None = None
        self._strokes: np.ndarray | None = None
        self._tracker: TextTracker | None = None
        if survey.searches is not None:
            self._tracker = TextTracker(
                interval_us=round(ingest.text_interval_s * 1e6) if text_us else 0,
                content=survey.geometry.stored_mask,
                overview=survey.searches,
            )

    def add(self, frame: SampledFrame) -> None:
        """Look at the next frame, which has the size that the survey is of."""
        geometry, area = self.survey.geometry, self.survey.geometry.area
        crop = frame.rgb[area.y : area.y + area.height, area.x : area.x + area.width]
        while len(self._grays) > 1 and self._grays[1][0] <= frame.pts_us - STILL_US:
            self._grays.popleft()
        is_past = bool(self._grays) and self._grays[0][0] <= frame.pts_us - STILL_US
        sample, gray = measure_frame(frame, crop, geometry, self._grays[0][1] if is_past else None)
        self._grays.append((frame.pts_us, gray))
        stored = shrink(crop, *geometry.stored_size)
        stored = np.asarray(cv2.bitwise_and(stored, stored, mask=geometry.stored_mask))
        self.samples.append(sample)
        self._last = stored
        if self._looked_us is None or frame.pts_us - self._looked_us >= self._text_us:
            self._looked_us = frame.pts_us
            self._look()
        if sudden := self._sudden(stored):
            self._look(sudden)
        self.pictures.append(shrink(stored, *self.size))

    def close(self) -> None:
        """Give every frame its boxes over text and its drop reason; neighbours that look alike are no reason, for that is film."""
        if self._looks[-1] < len(self.samples) - 1:
            self._look()
        self._hide_text()
        decide_film(self.samples, self._ingest)
        still = [sample.pts_us for sample in self.samples if sample.drop_reason == "frozen"]
        for sample in self.samples:
            sample.drop_reason = None if sample.drop_reason in ("near_duplicate", "frozen") else sample.drop_reason
            if sample.drop_reason is None and any(sample.pts_us <= end <= sample.pts_us + STILL_US for end in still):
                sample.drop_reason = "frozen"

    def _sudden(self, stored: np.ndarray) -> tuple[Box, ...]:
        """Where strokes have come since the frame before; nowhere if text is not looked for, or every frame is searched anyway."""
        if self._tracker is None or not self._text_us:
            return ()
        before, self._strokes = self._strokes, stroke_blocks(stored)
        return () if before is None else sudden_parts(self._strokes, before)

    def _look(self, sudden: tuple[Box, ...] = ()) -> None:
        """Look for text in the frame that came last, in all that is due or in those parts alone."""
        self._looks.append(len(self.samples) - 1)
        if self._tracker is None or self._last is None:
            return
        if sudden:
            self._tracker.add_between(self._last, sudden)
        else:
            self._tracker.add(self._last, self.samples[-1].pts_us)

    def _hide_text(self) -> None:
        """Give every frame the boxes of the looks before and after it."""
        if self._tracker is None:
            return
        masks = self._tracker.masks()
        for number, sample in enumerate(self.samples):
            first, end = bisect_left(self._looks, number), bisect_right(self._looks, number)
            near = masks[first:end] or masks[max(0, first - 1) : first + 1]
            sample.is_text_unchecked = any(mask is None for mask in near)
            known = [mask for mask in near if mask is not None]
            sample.text_boxes = None if sample.is_text_unchecked else tuple(dict.fromkeys(box for mask in known for box in mask.boxes))
