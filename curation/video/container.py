"""A video file opened with PyAV: which of its tracks is read, and what its header says."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from curation.sources import irregular, source_file
from curation.video.upright import pixel_aspect

__all__ = ["UnreadableVideo", "VideoProbe", "frame_rate", "frame_ticks", "is_unindexed", "opened", "probe", "track_note", "tracks"]

_STILL_FORMATS = ("image2", "_pipe", "tty")
_ANIMATIONS = ("gif", "apng")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
"""of pictures and picture sequences in the container of MP4 (ISO/IEC 23008-12), of which FFmpeg shows a tile or one picture"""
_UNINDEXED_FORMATS = ("mpeg", "mpegts", "mpegvideo", "h264", "hevc", "dv", "asf")
_UNDECODABLE_METADATA: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
"""PyAV 19, which Python 3.12 and newer get, takes titles that are not UTF-8 by itself; PyAV 18 would raise"""
_STILL_TRACKS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


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
    """of the coded picture; it is shown with square pixels and upright, see `curation.video.upright`"""
    height: int
    sample_aspect_ratio: float
    """width of a pixel by its height; 1 if it is square or unknown"""
    fps: float
    """average; 0 where unknown"""
    duration_s: float
    """0 where unknown"""
    num_frames_declared: int
    """0 where the container does not say"""


def probe(path: str) -> VideoProbe:
    """Read the container's header.

    Raises:
        UnreadableVideo: the file is empty, cannot be opened, or holds no moving picture.
    """
    with opened(path) as (container, stream):
        context = stream.codec_context
        rate = frame_rate(stream)
        if stream.duration is not None and stream.time_base is not None:
            duration_s = float(stream.duration * stream.time_base)
        else:
            duration_s = container.duration / 1_000_000 if container.duration else 0.0
        return VideoProbe(
            container=container.format.name,
            codec=stream.codec.canonical_name,
            width=context.width,
            height=context.height,
            sample_aspect_ratio=float(pixel_aspect(stream)),
            fps=float(rate) if rate else 0.0,
            duration_s=max(0.0, duration_s),
            num_frames_declared=max(0, stream.frames),
        )


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open with PyAV, single-threaded, and choose a track: of those marked as default, or else of all, the largest picture.

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
    head = source.read(512)
    source.seek(0)
    if not head:
        raise UnreadableVideo("empty", "the file has no content")
    if head[257:262] == b"ustar":  # FFmpeg takes the first JPEG in it for Motion JPEG
        raise UnreadableVideo("not_a_video", "a tar archive, not a video; unpack it or leave it out")
    try:
        container = av.open(source, "r", **_UNDECODABLE_METADATA)
    except (FFmpegError, UnicodeError, ValueError) as failure:
        detail = getattr(failure, "strerror", None) or str(failure)
        if head[4:8] in (b"ftyp", b"mdat", b"wide", b"moov") or head[:4] in (b"RIFF", b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba"):
            detail = f"a video container whose index is missing or damaged, as when a recording is cut off ({detail})"
            raise UnreadableVideo("undecodable", detail) from failure
        raise UnreadableVideo("not_a_video", f"no video container is recognised ({detail})") from failure
    with container:
        names = container.format.name.split(",")
        if any(name in _ANIMATIONS for name in names) or head[4:12] in [b"ftyp" + brand for brand in _HEIF_BRANDS]:
            kind = "HEIF or AVIF" if head[4:8] == b"ftyp" else names[0].upper()
            raise UnreadableVideo("not_a_video", f"an animation or still of the kind {kind}; convert it to a video or PNG")
        if any(name.endswith(_STILL_FORMATS) for name in names):
            raise UnreadableVideo("not_a_video", f"a still picture or text ({container.format.name}), not a video")
        stream = max(tracks(container), key=_preference, default=None)
        if stream is None:
            raise UnreadableVideo("no_video_stream", f"the {container.format.name} file has no stream of moving pictures")
        if stream.codec_context is None or not stream.codec_context.width:
            raise UnreadableVideo("undecodable", "the video stream has no known codec or no picture size")
        stream.codec_context.thread_count = 1
        try:
            yield container, stream
        except FFmpegError as failure:
            raise UnreadableVideo("undecodable", f"decoding failed: {failure.strerror}") from failure


def tracks(container: InputContainer) -> list[VideoStream]:
    """The streams of moving pictures: cover pictures and thumbnails are none."""
    return [stream for stream in container.streams.video if not stream.disposition & _STILL_TRACKS]


def track_note(container: InputContainer, chosen: VideoStream) -> str | None:
    """Which track is read, if there are several."""
    found = tracks(container)
    if len(found) < 2:
        return None
    context = chosen.codec_context
    number = [stream.index for stream in found].index(chosen.index) + 1
    why = "the default" if chosen.disposition & Disposition.default else "the largest"
    return f"of {len(found)} video tracks only number {number} ({context.width}x{context.height}, {why}) was read"


def _preference(stream: VideoStream) -> tuple[bool, bool, int, int]:
    context = stream.codec_context
    area = context.width * context.height if context is not None else 0
    return area > 0, bool(stream.disposition & Disposition.default), area, -stream.index


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Frames per second; not the ticks of the clock, which raw DV gives as its average."""
    average, guessed = stream.average_rate, stream.guessed_rate
    is_clock = bool(average and stream.time_base and average * stream.time_base >= 1)
    return (guessed or average) if is_clock else (average or guessed)


def frame_ticks(stream: VideoStream) -> int:
    """Ticks of the stream's time base from one frame to the next."""
    return max(1, round(1 / ((frame_rate(stream) or Fraction(25)) * (stream.time_base or Fraction(1, 1_000_000)))))


def is_unindexed(container: InputContainer) -> bool:
    """Whether the format has no index, so that seeking and frame counts cannot be relied on."""
    return any(name in _UNINDEXED_FORMATS for name in container.format.name.split(","))
