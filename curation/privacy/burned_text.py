"""Text burned into the picture: when it is looked for while a video's samples pass.

An overlay stands still, so not every sample is searched. The whole picture is searched every twenty seconds, when a picture freezes, and
once the camera has moved after something new was found. Parts are searched when sharp edges in them stand still while the camera moves, or
appear while it does not. What is found is read; curation/privacy/text_evidence.py decides what is hidden, once all samples have passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from curation.privacy.standing_edges import StandingEdges, camera_moved, parts_around, stands
from curation.privacy.text_boxes import Box
from curation.privacy.text_detector import TextCheckFailed, find_text, load_text_detector
from curation.privacy.text_evidence import OVERVIEW, Finding, Look, TextMask, lasting_text, masks_by_sample, same_place, verdict_of
from curation.privacy.text_reader import characters_read, load_text_reader

__all__ = ["TextWatch"]

_LARGE_SHARE = 0.4  # of the picture: parts that cover more are searched as the whole picture
_SHORTEST_US = 1_000_000  # between two searches of the whole picture, however often it freezes
_THUMBNAIL = (32, 24)


@dataclass(slots=True, kw_only=True)
class TextWatch:
    """Looks for text while a video's samples pass, and says at the end what is hidden in each."""

    interval_us: int
    """presentation time between two searches of the whole picture at most; 0 searches every sample"""
    inside: np.ndarray | None = None
    """[height, width] uint8, 0 outside the content area"""
    looks: list[Look] = field(default_factory=list)
    _edges: StandingEdges = field(default_factory=StandingEdges)
    _open: list[tuple[Finding, Look, np.ndarray]] = field(default_factory=list)
    """findings since the last whole picture, each with its look and the edges of that sample"""
    _owes_look: bool = False
    """the whole picture is to be searched as soon as a second has passed"""
    _owes_proof: bool = False
    """the same, once the camera moves"""
    _last_us: int | None = None

    def restarted(self) -> TextWatch:
        """One that knows what this one was shown before the first sample, for another try with another decoder."""
        return TextWatch(interval_us=self.interval_us, inside=self.inside, looks=[*self.looks])

    @property
    def lasting(self) -> tuple[Box, ...]:
        """Where text was confirmed in two different pictures."""
        return lasting_text(self.looks)

    def look(self, rgb: np.ndarray, position: int = OVERVIEW, parts: Sequence[Box] = ()) -> Look:
        """Search a picture of the stored size, [height, width, 3] uint8, or parts of it; read what is found, and note both."""
        findings, failure = self._findings(rgb, parts)
        if not parts and self._edges.edges is not None:
            findings += self._still_there(findings, self._edges.edges)
        thumbnail = cv2.cvtColor(cv2.resize(rgb, _THUMBNAIL, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        look = Look(position=position, findings=tuple(findings), is_whole=not parts, thumbnail=thumbnail, failure=failure)
        self.looks.append(look)
        return look

    def see(self, rgb: np.ndarray, position: int, pts_us: int) -> None:
        """Take the next sample, [height, width, 3] uint8 at the stored size, and search it if that is due."""
        self._edges.inside = self.inside
        hints = self._edges.take(rgb, [finding.box for finding, _, _ in self._open if verdict_of(finding) == "confirmed"])
        self._prove()
        parts = parts_around(hints)
        is_large = sum(part.width * part.height for part in parts) > _LARGE_SHARE * rgb.shape[0] * rgb.shape[1]
        self._owes_look |= self._edges.has_frozen  # what came with the freeze stands as still as the rest
        since_us = self.interval_us if self._last_us is None else pts_us - self._last_us
        is_owed = self._owes_look or (self._owes_proof and not self._edges.is_still)
        if self._last_us is None or since_us >= self.interval_us or is_large or (is_owed and since_us >= _SHORTEST_US):
            known = [finding.box for finding, _, _ in self._open]
            self._note(self.look(rgb, position), known)
            self._last_us, self._owes_look = pts_us, False
        elif parts:
            self._note(self.look(rgb, position, parts), [finding.box for finding, _, _ in self._open])

    def by_sample(self, num_samples: int) -> list[TextMask | None]:
        """What is hidden in each sample; None for one that was not checked, because a look before or after it failed."""
        return masks_by_sample(self.looks, num_samples)

    def _findings(self, rgb: np.ndarray, parts: Sequence[Box]) -> tuple[list[Finding], str | None]:
        try:
            boxes = dict.fromkeys(box for part in parts or (None,) for box in find_text(rgb, load_text_detector(), part))
            return [Finding(box=box, characters=characters_read(rgb, box, load_text_reader())) for box in boxes], None
        except TextCheckFailed as failure:
            return [], str(failure)

    def _still_there(self, findings: Sequence[Finding], edges: np.ndarray) -> list[Finding]:
        """Earlier findings whose strokes stand still, though the detector does not find them again."""
        return [
            Finding(box=old.box, characters=old.characters, stood=True)
            for old, _, before in self._open
            if old.stood and stands(before, edges, old.box) and not any(same_place(old.box, new.box) for new in findings)
        ]

    def _prove(self) -> None:
        """Decide of earlier findings whether their strokes stand still, as soon as the camera has moved."""
        now = self._edges.edges
        for finding, look, before in self._open:
            if finding.stood is None and now is not None and camera_moved(before, now, [other.box for other in look.findings]):
                finding.stood = stands(before, now, finding.box)

    def _note(self, look: Look, known: Sequence[Box]) -> None:
        """Keep a look's findings until the camera has moved; one that was not there before is looked for again."""
        if look.is_whole:
            self._open, self._owes_proof = [], False
        if self._edges.edges is not None:
            self._open += [(finding, look, self._edges.edges) for finding in look.findings]
        confirmed = [finding.box for finding in look.findings if verdict_of(finding) == "confirmed"]
        self._owes_proof |= any(
            verdict_of(finding, confirmed) != "refuted" and not any(same_place(finding.box, box) for box in known)
            for finding in look.findings
        )
