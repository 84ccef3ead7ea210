"""A few small pictures spread over a video, for what is constant in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from curation.video.container import is_unindexed, opened
from curation.video.decoding import logged_errors
from curation.video.deinterlace import deinterlaced
from curation.video.packets import stream_packets
from curation.video.upright import pixel_aspect, shrunk

__all__ = ["first_frames", "overview_frames"]

_STRIDE = 6


def overview_frames(path: str, *, num_frames: int, max_side: int) -> list[np.ndarray]:
    """Up to `num_frames` RGB pictures spread over the video, upright, with square pixels, scaled down to at most `max_side`.

    Keyframes nearest to evenly spaced times; where the container cannot seek or holds too few keyframes, also some of the first frames.
    """
    pictures: dict[int, np.ndarray] = {}
    with opened(path) as (container, stream), contextlib.suppress(FFmpegError):
        start, duration, aspect = stream.start_time or 0, stream.duration or 0, pixel_aspect(stream)
        if duration and not is_unindexed(container):
            for position in range(num_frames):
                container.seek(start + duration * (2 * position + 1) // (2 * num_frames), stream=stream)
                frame, is_torn = _next_frame(container, stream)
                if frame is None:
                    break  # the file ends before this time, whatever its header says
                if frame.pts is not None and frame.pts not in pictures and not is_torn:
                    pictures[frame.pts] = shrunk(deinterlaced(frame), aspect, max_side)
    if len(pictures) < min(3, num_frames):
        with opened(path) as (container, stream):
            aspect = pixel_aspect(stream)
            for number, frame in enumerate(first_frames(container, stream)):
                if len(pictures) >= num_frames or number > _STRIDE * num_frames:
                    break
                if number % _STRIDE == 0 and frame.pts not in pictures:
                    pictures[frame.pts if frame.pts is not None else -1 - number] = shrunk(deinterlaced(frame), aspect, max_side)
    return list(pictures.values())


def first_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode from where the container is; packets that cannot be decoded are passed over."""
    for packet in stream_packets(container, stream, []):
        frames: list[VideoFrame] = []
        with contextlib.suppress(FFmpegError), logged_errors() as errors:
            frames = packet.decode()
        if not _is_torn(stream, errors):
            yield from frames
    with contextlib.suppress(FFmpegError):
        yield from stream.codec_context.decode(None)


def _next_frame(container: InputContainer, stream: VideoStream) -> tuple[VideoFrame | None, bool]:
    """The frame of the next packet, without those that a decoder otherwise wants before it can say which is shown first; is it torn?"""
    for packet in stream_packets(container, stream, []):
        with logged_errors() as errors:
            frames: list[VideoFrame] = [*packet.decode(), *stream.codec_context.decode(None)]
        stream.codec_context.flush_buffers()
        if frames:
            return frames[0], _is_torn(stream, errors)
    return None, False


def _is_torn(stream: VideoStream, errors: list[str]) -> bool:
    """Whether a frame is no picture of the video: FFmpeg's decoder of Motion JPEG fills a damaged one up with what its memory held."""
    return stream.codec.canonical_name == "mjpeg" and bool(errors)
