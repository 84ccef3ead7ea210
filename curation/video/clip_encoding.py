"""A clip as the bytes of an MP4: H.264 at a constant rate in closed groups of pictures, and the source frames that it is made of."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["decode_clip", "encode_clip", "nearest_frames"]

_RATE_LIMIT = 100_000


def nearest_frames(pts_us: Sequence[int], *, fps: float, most: int) -> npt.NDArray[np.int64]:
    """Which source frames stand at a constant rate: for each moment k / `fps` after the first frame the one nearest in time.

    The last frame is taken to last as long as the median of the others, so five seconds of 25 frames a second are 150 at 30. Of two
    equally near frames the earlier one is taken.

    Args:
        pts_us: (n,) presentation times in microseconds, ascending; at least one.
        fps: frames per second wanted.
        most: frames wanted at most.

    Returns:
        (m,) positions in `pts_us`, not descending; m is at least 1.
    """
    times = np.asarray(pts_us, np.int64) - pts_us[0]
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    count = min(most, max(1, int((float(times[-1]) + spacing) / 1e6 * fps + 1e-3)))
    wanted = np.round(np.arange(count) * 1e6 / fps).astype(np.int64)
    after = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    if len(times) == 1:
        return np.zeros(count, np.int64)
    is_later = times[after] - wanted < wanted - times[after - 1]
    return np.where(is_later, after, after - 1).astype(np.int64)


def encode_clip(frames: Iterable[np.ndarray], *, size: tuple[int, int], fps: float, crf: int, group: int = 30) -> bytes:
    """Encode frames one after the other; the same frames give the same bytes on one machine, not on all.

    The MP4 has one stream, yuv420p with no B-frames, so that frames are stored in the order in which they are shown, the first at time 0.
    Every group of pictures begins with a keyframe that nothing refers across.

    Args:
        frames: [height, width, 3] uint8 RGB each, all of `size`.
        size: (width, height), even numbers.
        fps: of the clip.
        crf: x264's rate factor; lower is better and larger, 18 is hard to tell from the source.
        group: frames from one keyframe to the next.

    Raises:
        ValueError: a side is odd, or a frame has another size.
    """
    if size[0] % 2 or size[1] % 2:
        raise ValueError(f"size is {size}, and H.264 wants even sides; give even ones")
    rate = Fraction(fps).limit_denominator(_RATE_LIMIT)
    options = {"preset": "veryfast", "crf": str(crf), "bf": "0", "x264-params": f"keyint={group}:scenecut=0:open-gop=0:threads=1"}
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = 1 / rate
        stream.thread_count = 1
        for number, rgb in enumerate(frames):
            if rgb.shape[1::-1] != size:
                raise ValueError(f"frame {number} is {rgb.shape[1]}x{rgb.shape[0]}, expected {size[0]}x{size[1]}; scale it first")
            planes = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode_clip(content: bytes, positions: Sequence[int]) -> list[np.ndarray]:
    """Some frames of a clip that `encode_clip` made, [height, width, 3] uint8 RGB each; no reader of other videos.

    Args:
        content: the MP4.
        positions: of the frames, from 0, in any order, repeated or not.

    Raises:
        ValueError: the bytes are no video, or have no frame at a position.
    """
    wanted = set(positions)
    try:
        with av.open(io.BytesIO(content), "r") as container:
            frames = (frame for frame in container.decode(container.streams.video[0]))
            found = {number: frame.to_ndarray(format="rgb24", threads=1) for number, frame in enumerate(frames) if number in wanted}
    except (av.FFmpegError, IndexError) as failure:
        raise ValueError(f"{len(content)} bytes were given as a clip and cannot be decoded: {failure}") from failure
    if missing := wanted - found.keys():
        raise ValueError(f"the clip has no frame {min(missing)}; it is cut short")
    return [found[position] for position in positions]
