"""Samples by PyAV, which says frame by frame what is damaged.

`_choice` says what is decoded, `curation.video.presentation` where each frame is placed in time, and `_conclude` what came of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from importlib.metadata import version

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from curation.video.container import frame_ticks, opened
from curation.video.damage_map import DamageMap
from curation.video.decoding import DecodedFrame, decoded_frames
from curation.video.deinterlace import deinterlaced, with_neighbours
from curation.video.overview import first_frames
from curation.video.packet_index import PacketIndex
from curation.video.presentation import Presentation
from curation.video.sampling import DecodeReport, SampledFrame, expected_frames, microseconds, sample_slot
from curation.video.skipping import Choice, choice_for_samples, may_leave_out
from curation.video.upright import current_aspect, pixel_aspect, shown

__all__ = ["sample_with_pyav"]

_UNKNOWN_ORDER, _PROGRESSIVE = 0, 1
"""of FFmpeg's AVFieldOrder"""


def sample_with_pyav(
    path: str, fps: Fraction, report: DecodeReport, index: PacketIndex, *, keyframes: bool = False, thorough: bool = True
) -> Iterator[SampledFrame]:
    """See `curation.video.reader.sample_frames`; every frame, or every keyframe, if `fps` is 0."""
    report.decoder, report.decoder_version = "PyAV keyframes" if keyframes else "PyAV", version("av")
    damage = DamageMap()
    with opened(path) as (container, stream):
        choice = _choice(path, stream, fps, index, keyframes=keyframes, thorough=thorough)
        count, due = _Count(choice), _Due(fps, index.time_base)
        presentation = Presentation(index, frame_ticks=frame_ticks(stream), keyframes=keyframes)
        aspect, size = pixel_aspect(stream), (stream.codec_context.width, stream.codec_context.height)
        frames = count.counted(decoded_frames(container, stream, damage, choice))
        for before, current, after in with_neighbours(frames):
            place = presentation.place(current.number)
            if place is None or not due.takes(place[1]):
                continue
            # if few frames are decoded, those beside a frame are not its neighbours in the film
            near = (_sound(before), _sound(after)) if choice == Choice() else (None, None)
            rgb = shown(deinterlaced(current.frame, *near), current_aspect(stream, aspect, size, current.frame))
            position, pts_us = place[0], microseconds(place[1], index.time_base)
            yield SampledFrame(frame_index=position, pts_us=pts_us, rgb=rgb, is_corrupt=current.is_corrupt)
        num_declared = expected_frames(container, stream, index)
    _conclude(report, count, presentation, damage, index, num_declared)


def _choice(path: str, stream: VideoStream, fps: Fraction, index: PacketIndex, *, keyframes: bool, thorough: bool) -> Choice:
    """Everything, or what may be left out."""
    if thorough or not may_leave_out(stream.codec.canonical_name, fps, index):
        return Choice(keyframes=keyframes)
    if not keyframes and _is_interlaced(path, stream):  # no neighbour of a keyframe is looked at
        return Choice()
    return choice_for_samples(fps, index, keyframes=keyframes)


def _is_interlaced(path: str, stream: VideoStream) -> bool:
    """What the header says, else the first frame: every line of those that are needs both neighbours, so that none can be left out."""
    if stream.codec_context.field_order != _UNKNOWN_ORDER:
        return stream.codec_context.field_order != _PROGRESSIVE
    with opened(path) as (container, other):
        return any(frame.interlaced_frame for frame, _ in zip(first_frames(container, other), range(1), strict=False))


def _sound(neighbour: DecodedFrame | None) -> VideoFrame | None:
    return None if neighbour is None or neighbour.is_corrupt else neighbour.frame


class _Due:
    """Which frames are samples: the first at or after each time that is due."""

    def __init__(self, fps: Fraction, time_base: Fraction) -> None:
        self._fps, self._time_base = fps, time_base
        self._last_slot = -1

    def takes(self, ticks: int) -> bool:
        """Whether a frame of this time, later than those asked for before, is a sample."""
        slot = sample_slot(ticks, self._time_base, self._fps) if self._fps else self._last_slot + 1
        is_due, self._last_slot = slot > self._last_slot, max(slot, self._last_slot)
        return is_due


class _Count:
    """How many frames came, and which of those wanted did not."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.num_frames = self.num_corrupt = 0
        self.lacks_neighbours = False
        self.missing = set(choice.wanted or ())

    def counted(self, frames: Iterable[DecodedFrame]) -> Iterator[DecodedFrame]:
        """The frames as they are, each counted."""
        for each in frames:
            self.num_frames += 1
            self.num_corrupt += each.is_corrupt
            self.missing.discard(-1 if each.number is None else each.number)
            self.lacks_neighbours |= each.frame.interlaced_frame and not self.choice.keyframes
            yield each


def _conclude(
    report: DecodeReport, count: _Count, presentation: Presentation, damage: DamageMap, index: PacketIndex, num_declared: int
) -> None:
    """Say what came of the whole video."""
    num_keys, is_choosy = int(index.is_key.sum()), count.choice.wanted is not None
    num_expected, what = (num_keys, "keyframes") if count.choice.keyframes else (num_declared, "declared frames")
    num_seen = count.num_frames
    if is_choosy:  # frames left out on purpose count as passed
        num_seen = (num_keys if count.choice.keyframes else len(index.pts)) - len(count.missing)
    report.num_frames_decoded, report.num_frames_corrupt = count.num_frames, count.num_corrupt
    report.num_frames_skipped = max(0, num_seen - count.num_frames)
    report.notes += index.notes
    report.problems += index.problems
    if index.error:
        report.problems.append(f"the file could not be read to its end: {index.error}")
    if num_seen < num_expected:
        report.problems.append(f"{num_seen} of {num_expected} {what} could be decoded")
    if num_backward := presentation.num_backward:
        report.problems.append(f"{num_backward} frames are not later than the frame before them")
    if num_nudged := presentation.num_nudged:
        report.notes.append(f"{num_nudged} frames overlap the frame before them in time, and were placed directly behind it")
    if count.num_corrupt:
        report.problems.append(f"{count.num_corrupt} of {num_seen} frames are damaged or predicted from damaged ones")
    if damage.messages:
        report.problems.append("the decoder logged: " + "; ".join(damage.messages))
    report.is_incomplete = is_choosy and (bool(report.problems) or count.lacks_neighbours)
