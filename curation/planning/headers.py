"""What the headers of a sample of files say: hours, sizes and codecs, read in random order until time is up."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from curation.sources import LeftForLater, is_uri
from curation.video import UnreadableVideo, probe
from warehouse.records import VideoRef

__all__ = ["Header", "Headers", "read_headers"]

_USUAL_FPS = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a video's header says; the images of a folder count as frames a second apart, of which nothing more is known."""

    video: VideoRef
    duration_s: float
    fps: float = 1.0
    pixels: int = 0
    codec: str = "stills"

    @property
    def kind(self) -> tuple[str, int]:
        """Codec and pixels of a frame: videos that agree in these cost about the same."""
        return self.codec, self.pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """Those that were read."""

    found: tuple[Header, ...]
    unreadable: tuple[str, ...]
    """why others gave none"""
    num_undated: int
    """files that open, and do not say how long they are"""

    @property
    def num_read(self) -> int:
        """Files that were tried."""
        return len(self.found) + len(self.unreadable) + self.num_undated


def read_headers(videos: Sequence[VideoRef], *, most: int, deadline: float, seed: int = 0) -> Headers:
    """Read headers in random order, at least one, until `deadline` of `time.monotonic`. Objects in stores are not read."""
    order = [video for video in videos if not is_uri(video.path)]
    random.Random(seed).shuffle(order)
    found: list[Header] = []
    unreadable: list[str] = []
    num_undated = 0
    for number, video in enumerate(order[:most]):
        if number and time.monotonic() > deadline:
            break
        if video.images:
            found.append(Header(video=video, duration_s=float(len(video.images))))
            continue
        try:
            told = probe(video.path)
        except UnreadableVideo as failure:
            unreadable.append(failure.reason)
            continue
        except LeftForLater as left:
            unreadable.append(left.left.reason)
            continue
        if told.duration_s > 0:
            pixels = told.width * told.height
            found.append(Header(video=video, duration_s=told.duration_s, fps=told.fps or _USUAL_FPS, pixels=pixels, codec=told.codec))
        else:
            num_undated += 1
    return Headers(found=tuple(found), unreadable=tuple(unreadable), num_undated=num_undated)
