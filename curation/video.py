"""Video in, frames sampled in presentation time out; the only module that decodes.

decord is the default decoder. It reads ahead without a bound, repeats neighbours of frames that it could not decode, and raises nothing for
damaged bitstreams, so PyAV first reads the packets' timestamps (no decoding), and decord is used only where those prove it safe. What is
noticed while decord runs, such as an entry in its FFmpeg's error log, raises `DecoderDisagreement`: start again with decoder="pyav",
which says frame by frame what is damaged.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

__all__ = [
    "DecodeReport",
    "Decoder",
    "DecoderDisagreement",
    "PacketIndex",
    "SampledFrame",
    "UnreadableVideo",
    "VideoProbe",
    "index_packets",
    "overview_frames",
    "probe",
    "sample_frames",
    "sample_slot",
]

Decoder = Literal["decord", "pyav"]

_STILL_FORMATS = ("image2", "_pipe", "tty", "gif", "apng")
_UNINDEXED_FORMATS = ("mpeg", "mpegts", "mpegvideo", "h264", "hevc", "dv", "asf")
_DECORD_MAX_BYTES = 256 << 20  # decord holds the compressed packets of the whole file
_DECORD_CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "mjpeg", "msmpeg4v3")
_MAX_MESSAGES = 8


class UnreadableVideo(ValueError):
    """A file that gives no frame.

    Attributes:
        reason: empty, unreadable, not_a_video, no_video_stream, undecodable or too_large.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class DecoderDisagreement(RuntimeError):
    """decord cannot be trusted with this file; the frames it has given so far must be thrown away."""


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
    has_damage: bool
    """some packet has no timestamp or is flagged corrupt"""
    has_hidden: bool
    """some packet is not to be shown, by an edit list"""
    error: str | None
    """why reading stopped before the end of the file"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledFrame:
    """One decoded frame."""

    frame_index: int
    """position among the stream's frames in presentation order, 0 first"""
    pts_us: int
    """presentation time since the stream's first frame, in microseconds"""
    rgb: np.ndarray
    """[height, width, 3] uint8"""
    is_corrupt: bool = False
    """damaged itself, or predicted from a damaged frame"""


@dataclass(slots=True, kw_only=True)
class DecodeReport:
    """Filled in while `sample_frames` is iterated; complete when it is exhausted."""

    decoder: str = ""
    decoder_version: str = ""
    num_frames_decoded: int = 0
    """frames passed, whether decoded or skipped on the way to a later sample's keyframe"""
    num_frames_corrupt: int = 0
    problems: list[str] = field(default_factory=list)
    """what was wrong, in sentences; empty for a sound video"""


def probe(path: str) -> VideoProbe:
    """Read the container's header.

    Raises:
        UnreadableVideo: the file is empty, cannot be opened, or holds no moving picture.
    """
    with _opened(path) as (container, stream):
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


def index_packets(path: str) -> PacketIndex:
    """Timestamps and keyframe flags of every packet, read without decoding (microseconds a packet)."""
    pts: list[int] = []
    is_key: list[bool] = []
    has_damage = has_hidden = False
    error = None
    with _opened(path) as (container, stream):
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                has_damage |= packet.pts is None or packet.is_corrupt
                has_hidden |= packet.is_discard
                if packet.pts is not None and not packet.is_discard:
                    pts.append(packet.pts)
                    is_key.append(packet.is_keyframe)
        except FFmpegError as failure:
            error = str(failure)
        time_base = stream.time_base or Fraction(1, 1_000_000)
    return PacketIndex(
        time_base=time_base,
        pts=np.array(pts, np.int64),
        is_key=np.array(is_key, bool),
        has_damage=has_damage,
        has_hidden=has_hidden,
        error=error,
    )


def sample_slot(ticks: int, time_base: Fraction, fps: Fraction) -> int:
    """Number of the last sample that is due at `ticks` after the first frame: sample k is the first frame whose slot is k or more.

    Matroska rounds times to milliseconds, so a frame may be half a tick early; by no more than half a millisecond where the tick is longer.
    """
    early = min(time_base, Fraction(1, 1000)) / 2
    return int((ticks * time_base + early) * fps)


def sample_frames(
    path: str, *, fps: float, decoder: Decoder = "decord", report: DecodeReport | None = None, index: PacketIndex | None = None
) -> Iterator[SampledFrame]:
    """Decode the first frame at or after every multiple of 1 / `fps` seconds; every frame where `fps` is 0.

    One thread, at most one decoded frame held, and every group of pictures entered at most once.

    Raises:
        UnreadableVideo: the file cannot be opened.
        DecoderDisagreement: decord cannot be trusted with this file (only with decoder="decord").
    """
    report = report if report is not None else DecodeReport()
    index = index if index is not None else index_packets(path)
    rate = Fraction(fps).limit_denominator(100_000)
    if decoder == "decord":
        return _sample_with_decord(path, rate, report, index)
    return _sample_with_pyav(path, rate, report, index)


def overview_frames(path: str, *, num_frames: int, max_side: int) -> list[np.ndarray]:
    """Up to `num_frames` RGB pictures spread over the video, scaled down to at most `max_side`; for what is constant in a video.

    Keyframes nearest to evenly spaced times; where the container cannot seek or holds too few keyframes, also some of the first frames.
    """
    pictures: dict[int, np.ndarray] = {}
    with _opened(path) as (container, stream), contextlib.suppress(FFmpegError):
        start, duration = stream.start_time or 0, stream.duration or 0
        if duration and not _is_unindexed(container):
            for position in range(num_frames):
                container.seek(start + duration * (2 * position + 1) // (2 * num_frames), stream=stream)
                frame = next(container.decode(stream), None)
                if frame is not None and frame.pts is not None and frame.pts not in pictures:
                    pictures[frame.pts] = _shrunk(frame, max_side)
    if len(pictures) < min(3, num_frames):
        stride = 6
        with _opened(path) as (container, stream), contextlib.suppress(FFmpegError):
            for number, frame in enumerate(container.decode(stream)):
                if len(pictures) >= num_frames or number > stride * num_frames:
                    break
                if number % stride == 0 and frame.pts not in pictures:
                    pictures[frame.pts if frame.pts is not None else -1 - number] = _shrunk(frame, max_side)
    return list(pictures.values())


# ---------------------------------------------------------------------------------------------------------------- decord


def _sample_with_decord(path: str, fps: Fraction, report: DecodeReport, index: PacketIndex) -> Iterator[SampledFrame]:
    wanted = _due_frames(index, fps)
    objection = _objection_to_decord(path, index, len(wanted))
    if objection:
        raise DecoderDisagreement(objection)
    decord, log = _load_decord()
    failures = (RuntimeError, ValueError, AssertionError, decord.DECORDError)
    report.decoder, report.decoder_version = "decord", version("decord")
    log.clear()
    try:
        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    except failures as failure:
        raise DecoderDisagreement(f"decord cannot open the file: {failure}") from failure
    try:
        pts = np.sort(index.pts)
        if len(reader) != len(pts):
            raise DecoderDisagreement(f"decord counts {len(reader)} frames and the container holds {len(pts)}")
        for number in _frames_to_touch(wanted, index):
            try:
                rgb = reader.get_batch([number]).asnumpy()[0]
            except failures as failure:
                raise DecoderDisagreement(f"decord failed at frame {number}: {failure}") from failure
            if log:
                break
            if number in wanted:
                yield SampledFrame(frame_index=number, pts_us=_microseconds(int(pts[number] - pts[0]), index.time_base), rgb=rgb)
    finally:
        del reader  # joins its thread, which may log until then
    if log:
        raise DecoderDisagreement(f"decord's FFmpeg logged an error: {log[0]}")
    report.num_frames_decoded = len(pts)


def _due_frames(index: PacketIndex, fps: Fraction) -> set[int]:
    """Numbers, in presentation order, of the frames that are samples."""
    pts = np.sort(index.pts).tolist()
    if not fps:
        return set(range(len(pts)))
    slots = [sample_slot(ticks - pts[0], index.time_base, fps) for ticks in pts]
    return {number for number, slot in enumerate(slots) if number == 0 or slot > slots[number - 1]}


def _frames_to_touch(wanted: set[int], index: PacketIndex) -> list[int]:
    """The samples and the last frame of every group of pictures.

    decord seeks where a group's end is left out. It reads ahead meanwhile, so whether damage there is logged would be a matter of timing.
    """
    last_of_group = np.append(np.flatnonzero(index.is_key)[1:], len(index.pts)) - 1
    return sorted(wanted.union(last_of_group.tolist()))


def _objection_to_decord(path: str, index: PacketIndex, num_wanted: int) -> str | None:
    """Why decord may not be used, from the packets alone; None where it may."""
    if index.has_damage or index.has_hidden or index.error or not len(index.pts):
        return "packets are damaged, hidden or without a timestamp"
    if os.path.getsize(path) > _DECORD_MAX_BYTES:
        return f"the file exceeds {_DECORD_MAX_BYTES} bytes, and decord would hold all of it in memory"
    keys = np.flatnonzero(index.is_key)
    if not len(keys) or keys[0] != 0 or len(np.unique(index.pts)) != len(index.pts):
        return "it does not begin with a keyframe, or timestamps repeat"
    # decord numbers keyframes in decoding order: right only where no frame is shown on the other side of its keyframe
    shown_before = np.maximum.accumulate(index.pts)[keys[1:] - 1] if len(keys) > 1 else np.array([], np.int64)
    shown_after = np.minimum.accumulate(index.pts[::-1])[::-1][keys]
    if (shown_before >= index.pts[keys[1:]]).any() or (shown_after < index.pts[keys]).any():
        return "its groups of pictures are open"
    if len(keys) > num_wanted:
        return "there are more keyframes than samples, and decord would convert a frame of every group"
    with _opened(path) as (container, stream):
        if 4 * num_wanted > len(index.pts) and 3 * len(index.pts) * stream.width * stream.height > _DECORD_MAX_BYTES:
            return "decord queues what it decodes ahead without a bound, too much where most frames are wanted"
        if _is_unindexed(container) or stream.codec.canonical_name not in _DECORD_CODECS:
            return f"decord is not reliable with {stream.codec.canonical_name} in {container.format.name}"
        frame = next(_frames_before_error(container, stream), None)
        if frame is None:
            return "the first frame cannot be decoded"
        if frame.rotation or frame.interlaced_frame:
            return "the picture is rotated or interlaced"
    return None if _load_decord() else "decord is not installed, or its FFmpeg's error log cannot be read"


def _frames_before_error(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    with contextlib.suppress(FFmpegError):
        yield from container.decode(stream)


_LogCallback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


@functools.cache
def _load_decord() -> Any:
    """The decord module and the list to which its FFmpeg's errors go; None where either is missing.

    decord hides damage, but its FFmpeg logs it: the wheel's own libavutil is asked to call us instead of writing to stderr.
    """
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "20480")  # read when decord is loaded; too small and sound files fail
    try:
        import decord
    except (ImportError, OSError, RuntimeError):
        return None
    libraries = list((Path(decord.__file__).parent.parent / "decord.libs").glob("libavutil-*.so*"))
    if len(libraries) != 1:
        return None
    libavutil = ctypes.CDLL(str(libraries[0]))
    libavutil.av_log_set_callback.argtypes = [_LogCallback]
    libavutil.av_log_set_callback.restype = None
    format_line = libavutil.av_log_format_line2
    format_line.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_int),
    ]
    messages: list[str] = []

    def on_log(source: int, level: int, template: bytes, arguments: int) -> None:
        if level <= av.logging.ERROR and len(messages) < _MAX_MESSAGES:
            line = ctypes.create_string_buffer(256)
            format_line(source, level, template, arguments, line, len(line), ctypes.byref(ctypes.c_int(1)))
            messages.append(_message(line.value.decode(errors="replace")))

    callback = _LogCallback(on_log)
    libavutil.av_log_set_callback(callback)
    # a decoding thread that outlives the interpreter must not call into it
    default = ctypes.cast(libavutil.av_log_default_callback, _LogCallback)
    atexit.register(_restore_log, libavutil, default, callback)
    return decord, messages


def _restore_log(libavutil: ctypes.CDLL, default: object, ours: object) -> None:
    """Give the log back; `ours` is an argument only so that it lives until then."""
    libavutil.av_log_set_callback(default)


# ------------------------------------------------------------------------------------------------------------------ PyAV


def _sample_with_pyav(path: str, fps: Fraction, report: DecodeReport, index: PacketIndex) -> Iterator[SampledFrame]:
    report.decoder, report.decoder_version = "PyAV", version("av")
    damage = _DamageMap()
    first: int | None = None
    previous, last_slot, number = -1, -1, 0
    size: tuple[int, int] | None = None
    num_backward = num_resized = 0
    with _opened(path) as (container, stream):
        time_base = stream.time_base or Fraction(1, 1_000_000)
        frame_ticks = _ticks_per_frame(stream, time_base)
        for frame in _decoded(container, stream, damage):
            is_corrupt = damage.covers(frame)
            report.num_frames_decoded += 1
            report.num_frames_corrupt += is_corrupt
            size = size or (frame.width, frame.height)
            num_resized += (frame.width, frame.height) != size
            first = first if first is not None else (frame.pts if frame.pts is not None else 0)
            ticks = frame.pts - first if frame.pts is not None else previous + frame_ticks
            if ticks <= previous and number:
                num_backward += 1  # a frame that is not after its predecessor has no place in time
            else:
                previous = ticks
                slot = sample_slot(ticks, time_base, fps) if fps else number
                if slot > last_slot:
                    last_slot = slot
                    yield SampledFrame(
                        frame_index=number, pts_us=_microseconds(ticks, time_base), rgb=_rgb(frame, size), is_corrupt=is_corrupt
                    )
            number += 1
        declared = stream.frames
    expected = 0 if index.has_hidden else max(len(index.pts), declared)
    if index.error:
        report.problems.append(f"the file could not be read to its end: {index.error}")
    if number < expected:
        report.problems.append(f"{number} of {expected} declared frames could be decoded")
    if num_backward:
        report.problems.append(f"{num_backward} frames are not later than the frame before them")
    if num_resized:
        report.problems.append(f"{num_resized} frames have another size than the first and were scaled to it")
    if report.num_frames_corrupt:
        report.problems.append(f"{report.num_frames_corrupt} of {number} frames are damaged or predicted from damaged ones")
    if damage.messages:
        report.problems.append("the decoder logged: " + "; ".join(damage.messages))


class _DamageMap:
    """Which frames are damaged: from the first error in a group of pictures to its end, in decoding order.

    A damaged frame is the reference of the ones after it, which decode without complaint; only a keyframe starts clean.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._group = 0
        self._order = 0
        self._place: dict[int, tuple[int, int]] = {}
        self._first_error: dict[int, int] = {}

    def enter(self, packet: Packet[VideoStream]) -> None:
        self._order += 1
        self._group += packet.is_keyframe
        if packet.pts is not None:
            self._place[packet.pts] = (self._group, self._order)

    def log(self, messages: list[str]) -> None:
        self._first_error.setdefault(self._group, self._order)
        for message in messages:
            if len(self.messages) < _MAX_MESSAGES and message not in self.messages:
                self.messages.append(message)

    def covers(self, frame: VideoFrame) -> bool:
        here = self._place.pop(frame.pts, None) if frame.pts is not None else None
        group, order = here or (self._group, self._order)
        if frame.is_corrupt:
            self._first_error[group] = min(order, self._first_error.get(group, order))
        for old in [past for past in self._first_error if past < group - 2]:
            del self._first_error[old]
        return group in self._first_error and order >= self._first_error[group]


def _decoded(container: InputContainer, stream: VideoStream, damage: _DamageMap) -> Iterator[VideoFrame]:
    """All frames in presentation order; errors go to `damage`, never up."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        packets = container.demux(stream)
        while True:
            packet: Packet[VideoStream] | None = None
            frames: list[VideoFrame] = []
            failures: list[str] = []
            with av.logging.Capture() as log:
                try:
                    packet = next(packets, None)
                    if packet is not None:
                        if packet.size:
                            damage.enter(packet)
                        frames = packet.decode()
                except FFmpegError as failure:
                    failures = [_message(str(failure.strerror))]
            failures += [_message(message) for level, _, message in log if level <= av.logging.ERROR]
            if failures or (packet is not None and packet.is_corrupt):
                damage.log(failures or ["a packet is flagged corrupt"])
            if packet is None:
                return
            yield from frames
    finally:
        av.logging.set_level(before)


def _ticks_per_frame(stream: VideoStream, time_base: Fraction) -> int:
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    return max(1, round(1 / (rate * time_base)))


def _rgb(frame: VideoFrame, size: tuple[int, int]) -> np.ndarray:
    if (frame.width, frame.height) != size:
        frame = frame.reformat(width=size[0], height=size[1])
    return _upright(frame.to_ndarray(format="rgb24"), frame.rotation)


def _shrunk(frame: VideoFrame, max_side: int) -> np.ndarray:
    scale = min(1.0, max_side / max(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    return _upright(frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray(), frame.rotation)


def _upright(rgb: np.ndarray, rotation: int) -> np.ndarray:
    """Apply the display matrix, whose angle is counterclockwise."""
    quarter_turns = round(rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb


def _microseconds(ticks: int, time_base: Fraction) -> int:
    return (2_000_000 * ticks * time_base.numerator + time_base.denominator) // (2 * time_base.denominator)


def _message(text: str) -> str:
    """A log line without the address of the decoder's object, so that it reads the same in every run."""
    return re.sub(r"\[(\w+) @ 0x[0-9a-f]+\]", r"[\1]", text).strip()


# ---------------------------------------------------------------------------------------------------------------- opening


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open with PyAV, single-threaded, and choose the first stream of moving pictures."""
    try:
        status = os.stat(path)
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError as failure:
        raise UnreadableVideo("unreadable", f"the file cannot be read: {failure.strerror}") from failure
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableVideo("unreadable", "this is not a regular file")
    if not head:
        raise UnreadableVideo("empty", "the file has no content")
    try:
        container = av.open(os.path.abspath(path), metadata_errors="replace")
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


def _is_unindexed(container: InputContainer) -> bool:
    return any(name in _UNINDEXED_FORMATS for name in container.format.name.split(","))
