"""How evaluation reads videos: frames by presentation time, through the reader that ingest uses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from curation.video import PacketIndex, UnreadableVideo, duration_s, frames_at, index_packets, probe
from evaluation.video.clip_check import VideoFacts
from evaluation.video.clip_frames import ClipError, ClipSource

__all__ = ["CLIP_SOURCE", "clip_duration", "read_clip", "video_facts"]

_VARIABLE = 0.1
"""of the usual distance of two frames: what is more than this away from it is another rate"""


def read_clip(path: str, seconds: Sequence[float]) -> npt.NDArray[np.uint8]:
    """Frames [T, H, W, 3] RGB that are shown at the given seconds since the first frame of a video.

    Raises:
        ClipError: the video cannot be read, a frame is damaged, or the picture changes its size between them.
    """
    try:
        frames = frames_at(path, seconds, index=_index(path, *_version(path)))
    except (UnreadableVideo, OSError) as error:
        raise ClipError(f"a frame cannot be read: {error}") from error
    sizes = {frame.rgb.shape[1::-1] for frame in frames}
    if len(sizes) > 1:
        raise ClipError(f"the picture changes its size within the clip ({', '.join(f'{w}x{h}' for w, h in sorted(sizes))}); cut it there")
    return np.stack([frame.rgb for frame in frames])


def clip_duration(path: str) -> float:
    """Seconds from the first frame of a video to the end of its last one.

    Raises:
        ClipError: it cannot be read, or has a single frame.
    """
    try:
        seconds = duration_s(_index(path, *_version(path)))
    except (UnreadableVideo, OSError) as error:
        raise ClipError(f"it cannot be read: {error}") from error
    if seconds <= 0:
        raise ClipError("it has fewer than two frames; a clip needs more")
    return seconds


def video_facts(path: str) -> VideoFacts:
    """What a video's container and the times of its frames say of it.

    Raises:
        ClipError: it cannot be read, or has a single frame.
    """
    seconds = clip_duration(path)
    index, told = _index(path, *_version(path)), probe(path)
    distances = np.diff(np.sort(index.pts)).astype(np.float64)
    usual = float(np.median(distances))
    return VideoFacts(
        seconds=seconds,
        num_frames=len(index.pts),
        frames_per_s=1 / (usual * float(index.time_base)),
        is_variable=bool((np.abs(distances - usual) > _VARIABLE * usual).any()),
        size=(told.width, told.height),
    )


CLIP_SOURCE = ClipSource(read=read_clip, duration=clip_duration)
"""Can be sent to another process."""


def _version(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=256)
def _index(path: str, num_bytes: int, changed_ns: int) -> PacketIndex:
    return index_packets(path)
