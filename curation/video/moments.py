"""Single frames of a video by their times: the frame that is shown at each, decoded with as little else as its codec allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from curation.video.container import UnreadableVideo, frame_ticks, opened
from curation.video.damage_map import DamageMap
from curation.video.decoding import decoded_frames
from curation.video.deinterlace import deinterlaced, with_neighbours
from curation.video.packet_index import PacketIndex, index_packets
from curation.video.presentation import Presentation
from curation.video.sampling import SampledFrame, microseconds
from curation.video.skipping import Choice, may_leave_out, times_past_samples
from curation.video.upright import current_aspect, pixel_aspect, shown

__all__ = ["duration_s", "frames_at"]


def duration_s(index: PacketIndex) -> float:
    """Seconds from the first frame to the end of the last, which is shown as long as frames are in the middle of the video."""
    times = np.sort(index.pts)
    if len(times) < 2:
        return 0.0
    return float((int(times[-1]) - int(times[0]) + float(np.median(np.diff(times)))) * index.time_base)


def frames_at(path: str, seconds: Sequence[float], *, index: PacketIndex | None = None) -> list[SampledFrame]:
    """The frame that is shown at each time, in the order of the times; the first frame before the first time, the last one after the end.

    Args:
        path: of the video.
        seconds: times since the first frame, in any order; one frame may be asked for several times.
        index: of its packets, if it is known.

    Raises:
        UnreadableVideo: the file cannot be opened, or a frame that is wanted is damaged or does not come.
    """
    index = index if index is not None else index_packets(path)
    in_order = np.sort(index.pts)
    if not len(in_order):
        raise UnreadableVideo("undecodable", "it has no frame")
    early = min(index.time_base, Fraction(1, 1000)) / 2
    ticks = np.array([math.floor((Fraction(second).limit_denominator(1_000_000) + early) / index.time_base) for second in seconds])
    asked = np.clip(np.searchsorted(in_order - in_order[0], ticks, side="right") - 1, 0, len(in_order) - 1)
    found = _decoded(path, index, in_order, set(asked.tolist()))
    return [found[int(position)] for position in asked]


def _decoded(path: str, index: PacketIndex, in_order: np.ndarray, wanted: set[int]) -> dict[int, SampledFrame]:
    """Frames by their position in presentation order."""
    found: dict[int, SampledFrame] = {}
    with opened(path) as (container, stream):
        choice = _choice(stream.codec.canonical_name, index, frozenset(int(in_order[position]) for position in wanted))
        presentation = Presentation(index, frame_ticks=frame_ticks(stream), keyframes=False)
        aspect, size = pixel_aspect(stream), (stream.codec_context.width, stream.codec_context.height)
        for before, current, after in with_neighbours(decoded_frames(container, stream, DamageMap(), choice)):
            place = presentation.place(current.number)
            if place is None or place[0] not in wanted:
                continue
            near = [None if each is None or each.is_corrupt or choice != Choice() else each.frame for each in (before, after)]
            rgb = shown(deinterlaced(current.frame, *near), current_aspect(stream, aspect, size, current.frame))
            pts_us = microseconds(place[1], index.time_base)
            if current.is_corrupt:
                raise UnreadableVideo("undecodable", f"the frame at {pts_us / 1e6:.2f} s is damaged")
            found[place[0]] = SampledFrame(frame_index=place[0], pts_us=pts_us, rgb=rgb)
            if len(found) == len(wanted):
                return found
    lost = (int(in_order[min(wanted - set(found))]) - int(in_order[0])) * index.time_base
    raise UnreadableVideo(
        "undecodable", f"{len(wanted) - len(found)} of {len(wanted)} frames do not come, the first at {float(lost):.2f} s"
    )


def _choice(codec: str, index: PacketIndex, times: frozenset[int]) -> Choice:
    """Everything, or the groups of pictures with wanted frames, up to the last of these."""
    if not may_leave_out(codec, Fraction(1), index):
        return Choice()
    past = times_past_samples(times, index)
    numbers = [frozenset(index.number[np.isin(index.pts, list(each))].tolist()) for each in (times, past)]
    return Choice(wanted=numbers[0], past=numbers[1])
