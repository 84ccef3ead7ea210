"""Frames of clips: when they are, and their pixels as a network reads them. Frames are read by the function that the caller gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.images import array_image
from evaluation.tasks import Item
from evaluation.video.clip_backbone import ClipReader

__all__ = ["ClipError", "ClipSource", "clip_pixels", "window_times"]


class ClipError(ValueError):
    """A video of which a frame cannot be read; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSource:
    """How videos are read; both functions raise `ClipError`, and can be sent to another process."""

    read: ClipReader
    duration: Callable[[str], float]
    """seconds from the first frame of a video to the end of its last one"""


def window_times(start_s: float, end_s: float, *, num_frames: int, num_windows: int = 1) -> npt.NDArray[np.float64]:
    """Times in seconds [W, T] of the frames of a clip's windows.

    The clip is cut into T equal parts. Of W windows the first takes a moment early in each part, the last one a moment late, and one
    alone the middle. All windows thus span the whole clip, and no moment is the end of the video.
    """
    step = (end_s - start_s) / num_frames
    phases = (np.arange(num_windows) + 0.5) / num_windows
    return np.asarray(start_s + (np.arange(num_frames)[None, :] + phases[:, None]) * step)


def clip_pixels(
    item: Item, source: ClipSource, *, size: int, interpolation: str, num_frames: int, num_windows: int = 1
) -> npt.NDArray[np.uint8]:
    """Frames of a clip's windows, [W, T, size, size, 3] RGB, each resized whole as `item_image` resizes an image.

    Raises:
        ClipError: the video cannot be read at a time.
    """
    assert item.span is not None, "an item of a task of clips has a span"
    times = window_times(*item.span, num_frames=num_frames, num_windows=num_windows)
    order = np.argsort(times, axis=None, kind="stable")
    read = source.read(item.path, times.ravel()[order].tolist())
    small = np.stack([array_image(frame, size=size, interpolation=interpolation) for frame in read])
    pixels = np.empty_like(small)
    pixels[order] = small
    return pixels.reshape(num_windows, num_frames, size, size, 3)
