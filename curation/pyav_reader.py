"""Frames by PyAV, which says frame by frame what is damaged."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from fractions import Fraction
from importlib.metadata import version
from typing import Literal

import av.logging
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from curation.container import PacketIndex, is_unindexed, opened
from curation.deinterlace import deinterlaced, with_neighbours
from curation.leave_out import NON_REFERENCE_CODECS, may_leave_out, times_of_samples, times_past_samples
from curation.sampling import MAX_MESSAGES, DecodeReport, SampledFrame, expected_frames, log_line, microseconds, sample_slot

__all__ = ["overview_frames", "sample_with_pyav"]

# PyAV drops a log line that repeats the last one, be that of another video: whether damage is seen would depend on what was read before
av.logging.set_skip_repeated(False)

_UNKNOWN_ORDER, _PROGRESSIVE = 0, 1
"""of FFmpeg's AVFieldOrder"""


def overview_frames(path: str, *, num_frames: int, max_side: int) -> list[np.ndarray]:
    """Up to `num_frames` RGB pictures spread over the video, scaled down to at most `max_side`; for what is constant in a video.

    Keyframes nearest to evenly spaced times; where the container cannot seek or holds too few keyframes, also some of the first frames.
    """
    pictures: dict[int, np.ndarray] = {}
    with opened(path) as (container, stream), contextlib.suppress(FFmpegError):
        start, duration = stream.start_time or 0, stream.duration or 0
        if duration and not is_unindexed(container):
            for position in range(num_frames):
                container.seek(start + duration * (2 * position + 1) // (2 * num_frames), stream=stream)
                frame = _next_frame(container, stream)
                if frame is None:
                    break  # the file ends before this time, whatever its header says
                if frame.pts is not None and frame.pts not in pictures:
                    pictures[frame.pts] = _shrunk(deinterlaced(frame), max_side)
    if len(pictures) < min(3, num_frames):
        stride = 6
        with opened(path) as (container, stream), contextlib.suppress(FFmpegError):
            for number, frame in enumerate(container.decode(stream)):
                if len(pictures) >= num_frames or number > stride * num_frames:
                    break
                if number % stride == 0 and frame.pts not in pictures:
                    pictures[frame.pts if frame.pts is not None else -1 - number] = _shrunk(deinterlaced(frame), max_side)
    return list(pictures.values())


def _next_frame(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """The frame of the next packet, without those that a decoder otherwise wants before it can say which is shown first."""
    for packet in container.demux(stream):
        frames: list[VideoFrame] = [*packet.decode(), *(stream.codec_context.decode(None) if packet.size else ())]
        stream.codec_context.flush_buffers()
        if frames:
            return frames[0]
    return None


def sample_with_pyav(
    path: str, fps: Fraction, report: DecodeReport, index: PacketIndex, *, keyframes: bool = False, thorough: bool = True
) -> Iterator[SampledFrame]:
    """See `curation.video.sample_frames`; every frame, or every keyframe, where `fps` is 0."""
    report.decoder, report.decoder_version = "PyAV keyframes" if keyframes else "PyAV", version("av")
    damage = _DamageMap()
    in_order = np.sort(index.pts)
    first: int | None = int(in_order[0]) if keyframes else None
    previous, last_slot, num_seen = -1, -1, 0
    size: tuple[int, int] | None = None
    num_backward = num_resized = 0
    lacks_neighbours = False
    with opened(path) as (container, stream):
        time_base = stream.time_base or Fraction(1, 1_000_000)
        frame_ticks = _ticks_per_frame(stream, time_base)
        leaves_out = not thorough and may_leave_out(stream.codec.canonical_name, fps, index)
        leaves_out = leaves_out and (keyframes or not _is_interlaced(path, stream))  # no neighbour of a keyframe is looked at
        wanted = times_of_samples(fps, index, keyframes=keyframes) if leaves_out else None
        past = times_past_samples(wanted, index) if wanted and not keyframes else frozenset()
        missing = set(wanted or ())
        if wanted is not None:
            first = int(in_order[0])
        for before, (frame, is_corrupt), after in with_neighbours(
            _decoded(container, stream, damage, keyframes=keyframes, wanted=wanted, past=past)
        ):
            report.num_frames_decoded += 1
            missing.discard(frame.pts)
            lacks_neighbours |= wanted is not None and not keyframes and frame.interlaced_frame
            report.num_frames_corrupt += is_corrupt
            size = size or (frame.width, frame.height)
            num_resized += (frame.width, frame.height) != size
            first = first if first is not None else (frame.pts if frame.pts is not None else 0)
            ticks = frame.pts - first if frame.pts is not None else previous + frame_ticks
            if ticks <= previous and num_seen:
                num_backward += 1  # a frame that is not after its predecessor has no place in time
            else:
                previous = ticks
                slot = sample_slot(ticks, time_base, fps) if fps else num_seen
                if slot > last_slot:
                    last_slot = slot
                    number = int(np.searchsorted(in_order, first + ticks)) if keyframes or wanted is not None else num_seen
                    near = (None, None) if keyframes or wanted is not None else (_sound(before), _sound(after))
                    rgb = _rgb(deinterlaced(frame, *near), size)
                    yield SampledFrame(frame_index=number, pts_us=microseconds(ticks, time_base), rgb=rgb, is_corrupt=is_corrupt)
            num_seen += 1
        num_keys = int(index.is_key.sum())
        expected, what = (num_keys, "keyframes") if keyframes else (expected_frames(container, stream, index), "declared frames")
    if wanted is not None:
        num_seen = (num_keys if keyframes else len(in_order)) - len(missing)
        report.num_frames_skipped = num_seen - report.num_frames_decoded
    if index.error:
        report.problems.append(f"the file could not be read to its end: {index.error}")
    if num_seen < expected:
        report.problems.append(f"{num_seen} of {expected} {what} could be decoded")
    if num_backward:
        report.problems.append(f"{num_backward} frames are not later than the frame before them")
    if num_resized:
        report.problems.append(f"{num_resized} frames have another size than the first and were scaled to it")
    if report.num_frames_corrupt:
        report.problems.append(f"{report.num_frames_corrupt} of {num_seen} frames are damaged or predicted from damaged ones")
    if damage.messages:
        report.problems.append("the decoder logged: " + "; ".join(damage.messages))
    report.is_incomplete = wanted is not None and (bool(report.problems) or lacks_neighbours)


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
        if packet.is_keyframe:  # of frames that are left out nobody asks
            self._place = {pts: place for pts, place in self._place.items() if place[0] >= self._group - 2}

    def log(self, messages: list[str]) -> None:
        self._first_error.setdefault(self._group, self._order)
        for message in messages:
            if len(self.messages) < MAX_MESSAGES and message not in self.messages:
                self.messages.append(message)

    def covers(self, frame: VideoFrame) -> bool:
        here = self._place.pop(frame.pts, None) if frame.pts is not None else None
        group, order = here or (self._group, self._order)
        if frame.is_corrupt:
            self._first_error[group] = min(order, self._first_error.get(group, order))
        for old in [past for past in self._first_error if past < group - 2]:
            del self._first_error[old]
        return group in self._first_error and order >= self._first_error[group]


def _is_interlaced(path: str, stream: VideoStream) -> bool:
    """What the header says, else the first frame: every line of those that are needs both neighbours, so that none can be left out."""
    if stream.codec_context.field_order != _UNKNOWN_ORDER:
        return stream.codec_context.field_order != _PROGRESSIVE
    with opened(path) as (container, other), contextlib.suppress(FFmpegError):
        return next(container.decode(other)).interlaced_frame
    return False


def _sound(neighbour: tuple[VideoFrame, bool] | None) -> VideoFrame | None:
    return None if neighbour is None or neighbour[1] else neighbour[0]


def _decoded(
    container: InputContainer,
    stream: VideoStream,
    damage: _DamageMap,
    *,
    keyframes: bool,
    wanted: frozenset[int] | None,
    past: frozenset[int],
) -> Iterator[tuple[VideoFrame, bool]]:
    """All frames, or all keyframes, in presentation order, and whether each is damaged; errors go to `damage`, never up.

    With `wanted` only the frames at those times and, unless `keyframes`, those that others are predicted from, without those at the times
    `past`; all again from the first sign of damage or of interlacing on, where neighbours count.
    """
    takes_reference_flag = stream.codec.canonical_name in NON_REFERENCE_CODECS
    all_of_them: Literal["NONKEY", "DEFAULT"] = "NONKEY" if keyframes else "DEFAULT"
    unwanted: Literal["ALL", "NONREF", "DEFAULT"] = "ALL" if keyframes else "NONREF" if takes_reference_flag else "DEFAULT"
    stream.codec_context.skip_frame = all_of_them
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        packets = container.demux(stream)
        while True:
            packet: Packet[VideoStream] | None = None
            frames: list[VideoFrame] = []
            failures: list[str] = []
            is_flagged = False
            with av.logging.Capture() as log:
                try:
                    packet = next(packets, None)
                    while packet is not None and _is_passed_over(packet, keyframes, past if wanted else ()):
                        is_flagged |= packet.is_corrupt
                        packet = next(packets, None)
                    if packet is not None:
                        is_flagged |= packet.is_corrupt
                        if packet.size:
                            damage.enter(packet)
                        if wanted is not None:
                            # also what is skipped passes through the decoder: it may bring new parameters
                            is_wanted = packet.pts in wanted or not packet.size
                            stream.codec_context.skip_frame = all_of_them if is_wanted else "ALL" if packet.pts in past else unwanted
                        frames = packet.decode()
                except FFmpegError as failure:
                    failures.append(log_line(str(failure.strerror)))
            failures += [log_line(message) for level, _, message in log if level <= av.logging.ERROR]
            if failures or is_flagged:
                damage.log(failures or ["a packet is flagged corrupt"])
            if wanted is not None and (failures or any(frame.interlaced_frame for frame in frames)):
                wanted = None
                stream.codec_context.skip_frame = all_of_them
            if packet is None:
                return
            for frame in frames:
                yield frame, damage.covers(frame)
    finally:
        av.logging.set_level(before)


def _is_passed_over(packet: Packet[VideoStream], keyframes: bool, past: Collection[int]) -> bool:
    """Whether the decoder need not see it: keyframes it must, which may bring new parameters, and the empty packet that drains it."""
    return bool(packet.size) and not packet.is_keyframe and (keyframes or packet.pts in past)


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
