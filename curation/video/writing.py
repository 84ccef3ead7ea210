"""H.264 in an MP4 file, frame by frame, each at its own presentation time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from warehouse.store import atomic_file

__all__ = ["h264_writer"]

_TICKS = Fraction(1, 90_000)
_MICROSECONDS = Fraction(1, 1_000_000)
_OPTIONS = {"preset": "veryfast", "crf": "21", "threads": "1"}


@contextlib.contextmanager
def h264_writer(path: Path, size: tuple[int, int]) -> Iterator[Callable[[np.ndarray, int], None]]:
    """Write a video; what is given is a function that takes [height, width, 3] uint8 RGB and its time in microseconds, ascending.

    H.264 wants even sides: an odd one gets a black line more. A frame of another size than the video's is scaled into it.

    Args:
        path: of the MP4; it appears when the whole video is written.
        size: (width, height) of the frames.
    """
    width, height = (side + side % 2 for side in size)
    with atomic_file(path) as file, av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = _TICKS
        stream.thread_count = 1
        last = -1

        def write(rgb: np.ndarray, pts_us: int) -> None:
            nonlocal last
            if rgb.shape[1::-1] != size:
                rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
            edges = (0, height - size[1], 0, width - size[0])
            whole = cv2.copyMakeBorder(rgb, *edges, cv2.BORDER_CONSTANT, value=(0, 0, 0))
            planes = np.asarray(cv2.cvtColor(whole, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            last = max(last + 1, round(pts_us * _MICROSECONDS / _TICKS))
            frame.pts, frame.time_base = last, _TICKS
            container.mux(stream.encode(frame))

        yield write
        container.mux(stream.encode(None))
