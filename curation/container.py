"""A video file opened with PyAV: what its header and packets say, before anything is decoded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import IO

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from curation.entry_points import is_entry_point
from curation.source_file import source_file
from curation.withheld import irregular

__all__ = ["PacketIndex", "UnreadableVideo", "VideoProbe", "index_packets", "is_unindexed", "opened", "probe"]

_STILL_FORMATS = ("image2", "_pipe", "tty", "gif", "apng")
_UNINDEXED_FORMATS = ("mpeg", "mpegts", "mpegvideo", "h264", "hevc", "dv", "asf")


class UnreadableVideo(ValueError):
    """A file that gives no frame.

    Attributes:
        reason: empty, not_a_file, not_a_video, no_video_stream, undecodable, too_large or too_long.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoProbe:
    """What the container says of its video stream, without decoding; its title, comments and dates are never read."""

    container: str
    codec: str
    width: int
    height: int
    fps: float
    """average; 0 where unknown"""
    duration_s: float
    """0 where unknown"""
    num_frames_declared: int
    """0 where the container does not say"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketIndex:
    """Presentation times of the video stream's packets, in ticks of the stream's time base."""

    time_base: Fraction
    pts: np.ndarray
    """[num_packets] int64 in decoding order"""
    is_key: np.ndarray
    """[num_packets] bool in decoding order"""
    is_entry: npt.NDArray[np.bool_]
    """[num_packets] bool in decoding order: keyframes that are confirmed by their own bytes, see `curation.entry_points`"""
    has_damage: bool
    """some packet has no timestamp or is flagged corrupt"""
    has_hidden: bool
    """some packet is not to be shown, by an edit list"""
    error: str | None
    """why reading stopped before the end of the file"""


def probe(path: str) -> VideoProbe:
    """Read the container's header.

    Raises:
        UnreadableVideo: the file is empty, cannot be opened, or holds no moving picture.
    """
    with opened(path) as (container, stream):
        context = stream.codec_context
        rate = stream.average_rate or stream.guessed_rate
        if stream.duration is not None and stream.time_base is not None:
            duration_s = float(stream.duration * stream.time_base)
        else:
            duration_s = container.duration / 1_000_000 if container.duration else 0.0
        return VideoProbe(
            container=container.format.name,
            codec=stream.codec.canonical_name,
            width=context.width,
            height=context.height,
            fps=float(rate) if rate else 0.0,
            duration_s=max(0.0, duration_s),
            num_frames_declared=max(0, stream.frames),
        )


def index_packets(path: str, *, max_packets: int | None = None) -> PacketIndex:
    """Timestamps and keyframe flags of every packet, read without decoding (microseconds a packet).

    Raises:
        UnreadableVideo: the file cannot be opened, or holds more than `max_packets`.
    """
    pts: list[int] = []
    is_key: list[bool] = []
    is_entry: list[bool] = []
    has_damage = has_hidden = False
    error = None
    with opened(path) as (container, stream):
        codec, extradata = stream.codec.canonical_name, stream.codec_context.extradata
        try:
            for number, packet in enumerate(container.demux(stream)):
                if packet.size == 0:
                    continue
                if max_packets is not None and number >= max_packets:
                    raise UnreadableVideo("too_long", f"it has more frames than max_frames={max_packets}; raise the limit to take them")
                has_damage |= packet.pts is None or packet.is_corrupt
                has_hidden |= packet.is_discard
                if packet.pts is not None and not packet.is_discard:
                    pts.append(packet.pts)
                    is_key.append(packet.is_keyframe)
                    is_entry.append(packet.is_keyframe and is_entry_point(codec, bytes(packet), extradata))
        except FFmpegError as failure:
            error = failure.strerror or str(failure)  # the whole message holds the path, which may be a temporary one
        time_base = stream.time_base or Fraction(1, 1_000_000)
    return PacketIndex(
        time_base=time_base,
        pts=np.array(pts, np.int64),
        is_key=np.array(is_key, bool),
        is_entry=np.array(is_entry, bool),
        has_damage=has_damage,
        has_hidden=has_hidden,
        error=error,
    )


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open with PyAV, single-threaded, and choose the first stream of moving pictures.

    Raises:
        UnreadableVideo: it is not a file, or none that holds moving pictures.
        LeftForLater: the file system withheld the file, or a part of it while it was open.
    """
    path = os.path.abspath(path)
    if what := irregular(path):
        raise UnreadableVideo("not_a_file", f"{what}, not a file")
    with source_file(path) as source, _opened(source) as found:
        yield found


@contextlib.contextmanager
def _opened(source: IO[bytes]) -> Iterator[tuple[InputContainer, VideoStream]]:
    head = source.read(12)
    source.seek(0)
    if not head:
        raise UnreadableVideo("empty", "the file has no content")
    try:
        container = av.open(source, "r", metadata_errors="replace")
    except (FFmpegError, UnicodeError, ValueError) as failure:
        detail = getattr(failure, "strerror", None) or str(failure)
        if head[4:8] in (b"ftyp", b"mdat", b"wide", b"moov") or head[:4] in (b"RIFF", b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba"):
            detail = f"a video container whose index is missing or damaged, as when a recording is cut off ({detail})"
            raise UnreadableVideo("undecodable", detail) from failure
        raise UnreadableVideo("not_a_video", f"no video container is recognised ({detail})") from failure
    with container:
        if any(name.endswith(_STILL_FORMATS) for name in container.format.name.split(",")):
            raise UnreadableVideo("not_a_video", f"a still picture or text ({container.format.name}), not a video")
        streams = [stream for stream in container.streams.video if not _is_cover_picture(stream)]
        if not streams:
            raise UnreadableVideo("no_video_stream", f"the {container.format.name} file has no stream of moving pictures")
        stream = streams[0]
        if stream.codec_context is None or not stream.codec_context.width:
            raise UnreadableVideo("undecodable", "the video stream has no known codec or no picture size")
        stream.codec_context.thread_count = 1
        try:
            yield container, stream
        except FFmpegError as failure:
            raise UnreadableVideo("undecodable", f"decoding failed: {failure.strerror}") from failure


def _is_cover_picture(stream: VideoStream) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def is_unindexed(container: InputContainer) -> bool:
    """Whether the format has no index, so that seeking and frame counts cannot be relied on."""
    return any(name in _UNINDEXED_FORMATS for name in container.format.name.split(","))
