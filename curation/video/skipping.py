"""What need not be decoded for the samples of a video, from the index of its packets alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from curation.video.packet_index import PacketIndex
from curation.video.sampling import due_frames

__all__ = [
    "NON_REFERENCE_CODECS",
    "Choice",
    "choice_for_samples",
    "may_leave_out",
    "share_left_out",
    "times_of_samples",
    "times_past_samples",
]

NON_REFERENCE_CODECS = ("h264", "hevc")
"""whose packets say at once that no other is predicted from them; in most videos half or more are such"""
_CODECS = (*NON_REFERENCE_CODECS, "mpeg4", "mjpeg", "vp9")
"""of which groups of pictures can be left half-way"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which packets are decoded; packets are known by their number in the file."""

    keyframes: bool = False
    """only keyframes are decoded"""
    wanted: frozenset[int] | None = None
    """packets of the samples: of the others only those are decoded that some sample may be predicted from; None if all are decoded"""
    past: frozenset[int] = frozenset()
    """packets that no sample can be predicted from"""


def choice_for_samples(fps: Fraction, index: PacketIndex, *, keyframes: bool) -> Choice:
    """As little as the samples need."""
    wanted = times_of_samples(fps, index, keyframes=keyframes)
    past = frozenset[int]() if keyframes else times_past_samples(wanted, index)
    numbers = [frozenset(index.number[np.isin(index.pts, list(times))].tolist()) for times in (wanted, past)]
    return Choice(keyframes=keyframes, wanted=numbers[0], past=numbers[1])


def may_leave_out(codec: str, fps: Fraction, index: PacketIndex) -> bool:
    """Whether the index names every sample beforehand, and the codec is one of those in question."""
    keys = np.flatnonzero(index.is_key)
    is_sound = not (index.has_damage or index.has_hidden or index.error or index.is_decoding_order)
    is_sound = is_sound and len(np.unique(index.pts)) == len(index.pts) > 0
    if not fps or not is_sound or codec not in _CODECS:
        return False
    return bool(len(keys) and keys[0] == 0 and index.pts[0] == index.pts.min())


def share_left_out(codec: str, fps: Fraction, index: PacketIndex) -> float:
    """Of all frames, those that need not be decoded; of the codecs whose packets say more, half are taken to be such."""
    if not may_leave_out(codec, fps, index):
        return 0.0
    share = len(times_past_samples(times_of_samples(fps, index, keyframes=False), index)) / len(index.pts)
    return max(share, 0.5) if codec in NON_REFERENCE_CODECS else share


def times_of_samples(fps: Fraction, index: PacketIndex, *, keyframes: bool) -> frozenset[int]:
    """Presentation times, in ticks, of the samples."""
    candidates = replace(index, pts=index.pts[index.is_key], is_key=index.is_key[index.is_key]) if keyframes else index
    in_order = np.sort(candidates.pts)
    return frozenset(int(in_order[number]) for number in due_frames(candidates, fps))


def times_past_samples(samples: frozenset[int], index: PacketIndex) -> frozenset[int]:
    """Presentation times of the packets after the last sample of their group of pictures, in decoding order; all where it has none.

    Only of groups that nothing reaches into: one whose successor is no entry, or shows frames before its keyframe (an open group), is
    decoded whole.
    """
    keys = np.flatnonzero(index.is_key)
    last_of_group = np.append(keys[1:], len(index.pts)) - 1
    group = np.cumsum(index.is_key) - 1
    position = np.arange(len(index.pts))
    last_sample = np.full(len(keys), -1)
    np.maximum.at(last_sample, group, np.where(np.isin(index.pts, list(samples)), position, -1))
    shown_before = np.maximum.accumulate(index.pts)[last_of_group[:-1]]
    first_shown = np.minimum.reduceat(index.pts, keys)
    after = keys[1:]
    is_closed = np.append(index.is_entry[after] & (shown_before < index.pts[after]) & (first_shown[1:] == index.pts[after]), True)
    return frozenset(index.pts[(position > last_sample[group]) & is_closed[group]].tolist())
