"""Samples by PyAV, which says frame by frame what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import version

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from curation.video.container import frame_ticks, opened
from curation.video.damage_map import DamageMap
from curation.video.decoding import Choice, DecodedFrame, decoded_frames
from curation.video.deinterlace import deinterlaced, with_neighbours
from curation.video.overview import first_frames
from curation.video.packet_index import PacketIndex
from curation.video.presentation import Presentation
from curation.video.sampling import DecodeReport, SampledFrame, expected_frames, microseconds, sample_slot
from curation.video.skipping import may_leave_out, times_of_samples, times_past_samples
from curation.video.upright import current_aspect, pixel_aspect, shown

__all__ = ["sample_with_pyav"]

_UNKNOWN_ORDER, _PROGRESSIVE = 0, 1
"""of FFmpeg's AVFieldOrder"""
_JITTER_S = 1
"""a frame that is shown this much before its predecessor is placed directly behind it: recordings may overlap where they were joined"""


def sample_with_pyav(
    path: str, fps: Fraction, report: DecodeReport, index: PacketIndex, *, keyframes: bool = False, thorough: bool = True
) -> Iterator[SampledFrame]:
    """See `curation.video.reader.sample_frames`; every frame, or every keyframe, where `fps` is 0."""
    report.decoder, report.decoder_version = "PyAV keyframes" if keyframes else "PyAV", version("av")
    damage = DamageMap()
    with opened(path) as (container, stream):
        choice = _choice(path, stream, fps, index, keyframes=keyframes, thorough=thorough)
        count = _Count(choice)
        aspect, size = pixel_aspect(stream), (stream.codec_context.width, stream.codec_context.height)
        placing = _Placing(stream, fps, index, choice)
        for before, current, after in with_neighbours(decoded_frames(container, stream, damage, choice)):
            count.add(current)
            place = placing.place(current)
            if place is not None:
                near = (None, None) if _takes_few(choice) else (_sound(before), _sound(after))
                rgb = shown(deinterlaced(current.frame, *near), current_aspect(stream, aspect, size, current.frame))
                yield SampledFrame(frame_index=place[0], pts_us=place[1], rgb=rgb, is_corrupt=current.is_corrupt)
        _conclude(report, count, placing, damage, index, container, stream)


def _takes_few(choice: Choice) -> bool:
    """Whether a frame's neighbours among those that are decoded are not its neighbours in the film."""
    return choice.keyframes or choice.wanted is not None


def _choice(path: str, stream: VideoStream, fps: Fraction, index: PacketIndex, *, keyframes: bool, thorough: bool) -> Choice:
    """Everything, or what may be left out."""
    if thorough or not may_leave_out(stream.codec.canonical_name, fps, index):
        return Choice(keyframes=keyframes)
    if not keyframes and _is_interlaced(path, stream):  # no neighbour of a keyframe is looked at
        return Choice()
    wanted = times_of_samples(fps, index, keyframes=keyframes)
    past = frozenset[int]() if keyframes else times_past_samples(wanted, index)
    return Choice(keyframes=keyframes, wanted=_packets_at(wanted, index), past=_packets_at(past, index))


def _packets_at(times: frozenset[int], index: PacketIndex) -> frozenset[int]:
    return frozenset(index.number[np.isin(index.pts, list(times))].tolist())


def _is_interlaced(path: str, stream: VideoStream) -> bool:
    """What the header says, else the first frame: every line of those that are needs both neighbours, so that none can be left out."""
    if stream.codec_context.field_order != _UNKNOWN_ORDER:
        return stream.codec_context.field_order != _PROGRESSIVE
    with opened(path) as (container, other):
        return any(frame.interlaced_frame for frame, _ in zip(first_frames(container, other), range(1), strict=False))


def _sound(neighbour: DecodedFrame | None) -> VideoFrame | None:
    return None if neighbour is None or neighbour.is_corrupt else neighbour.frame


class _Placing:
    """Which frames are samples, and when they are shown."""

    def __init__(self, stream: VideoStream, fps: Fraction, index: PacketIndex, choice: Choice) -> None:
        self.num_backward = self.num_nudged = 0
        self._presentation = Presentation(index)
        self._keyframes = choice.keyframes
        self._fps, self._time_base, self._frame_ticks = fps, index.time_base, frame_ticks(stream)
        self._num_seen = 0
        self._previous, self._last_slot, self._last_number = -1, -1, -1
        self._jitter = max(1, round(_JITTER_S / index.time_base))

    def place(self, decoded: DecodedFrame) -> tuple[int, int] | None:
        """Position in the film and time in microseconds of a frame that is a sample."""
        position = self._presentation.position(decoded.number, keyframes=self._keyframes)
        ticks = self._presentation.ticks(position) if position is not None else self._previous + self._frame_ticks
        is_repeated, self._last_number = decoded.number == self._last_number, -1 if decoded.number is None else decoded.number
        self._num_seen += 1
        if ticks <= self._previous and (is_repeated or self._previous - ticks > self._jitter):
            self.num_backward += 1  # a frame that comes long before its predecessor has no place in time
            return None
        if ticks <= self._previous:
            self.num_nudged += 1
            ticks = self._previous + 1
        self._previous = ticks
        slot = sample_slot(ticks, self._time_base, self._fps) if self._fps else self._num_seen
        if slot <= self._last_slot:
            return None
        self._last_slot = slot
        return position if position is not None else self._num_seen - 1, microseconds(ticks, self._time_base)


class _Count:
    """How many frames came, and which of those wanted did not."""

    def __init__(self, choice: Choice) -> None:
        self.num_frames = self.num_corrupt = 0
        self.is_choosy, self.keyframes = choice.wanted is not None, choice.keyframes
        self.missing = set(choice.wanted or ())
        self.lacks_neighbours = False

    def add(self, decoded: DecodedFrame) -> None:
        self.num_frames += 1
        self.num_corrupt += decoded.is_corrupt
        self.missing.discard(-1 if decoded.number is None else decoded.number)
        self.lacks_neighbours |= self.is_choosy and not self.keyframes and decoded.frame.interlaced_frame


def _conclude(
    report: DecodeReport,
    count: _Count,
    placing: _Placing,
    damage: DamageMap,
    index: PacketIndex,
    container: InputContainer,
    stream: VideoStream,
) -> None:
    """Say what came of the whole video."""
    num_keys = int(index.is_key.sum())
    expected, what = (num_keys, "keyframes") if count.keyframes else (expected_frames(container, stream, index), "declared frames")
    num_seen = count.num_frames
    if count.is_choosy:  # frames left out on purpose count as passed
        num_seen = (num_keys if count.keyframes else len(index.pts)) - len(count.missing)
    report.num_frames_decoded, report.num_frames_corrupt = count.num_frames, count.num_corrupt
    report.num_frames_skipped = max(0, num_seen - count.num_frames)
    report.notes += index.notes
    report.problems += index.problems
    if index.error:
        report.problems.append(f"the file could not be read to its end: {index.error}")
    if num_seen < expected:
        report.problems.append(f"{num_seen} of {expected} {what} could be decoded")
    if placing.num_backward:
        report.problems.append(f"{placing.num_backward} frames are not later than the frame before them")
    if placing.num_nudged:
        report.notes.append(f"{placing.num_nudged} frames overlap the frame before them in time, and were placed directly behind it")
    if count.num_corrupt:
        report.problems.append(f"{count.num_corrupt} of {num_seen} frames are damaged or predicted from damaged ones")
    if damage.messages:
        report.problems.append("the decoder logged: " + "; ".join(damage.messages))
    report.is_incomplete = count.is_choosy and (bool(report.problems) or count.lacks_neighbours)
