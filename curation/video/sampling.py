"""Sampling in presentation time: which frames are due, what a sampled frame is, and what is noted while they are decoded."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from curation.video.packet_index import PacketIndex

__all__ = [
    "AUTO_FPS",
    "DecodeReport",
    "Decoder",
    "DecoderDisagreement",
    "SampledFrame",
    "Sampling",
    "choose_sampling",
    "due_frames",
    "expected_frames",
    "keyframe_spacing_s",
    "log_line",
    "microseconds",
    "sample_slot",
]

AUTO_FPS = 1.0
Decoder = Literal["decord", "pyav"]
MAX_MESSAGES = 8
"""lines of a decoder's log that are kept"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which frames of a video are taken."""

    fps: float
    """samples per second of presentation time; 0 for every frame"""
    keyframes: bool
    """only keyframes are decoded, and samples are those at or after the times due"""


class DecoderDisagreement(RuntimeError):
    """decord cannot be trusted with this file; the frames it has given so far must be thrown away.

    Attributes:
        is_damage: it came upon something wrong in the pictures, which another decoder should look for in all of them.
    """

    def __init__(self, reason: str, *, is_damage: bool = False) -> None:
        super().__init__(reason)
        self.is_damage = is_damage


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
    """frames that the decoder gave, sampled or not"""
    num_frames_skipped: int = 0
    """frames left out of decoding on purpose, because no sample needs them"""
    num_frames_corrupt: int = 0
    is_incomplete: bool = False
    """frames were left out, and should not have been: something is wrong, or samples are interlaced. Decode again, thoroughly"""
    problems: list[str] = field(default_factory=list)
    """what was wrong, in sentences; empty for a sound video"""
    notes: list[str] = field(default_factory=list)
    """what a user should know although nothing was lost, in sentences"""


def choose_sampling(index: PacketIndex, *, fps: float | Literal["auto"], keyframes: bool, all_frames: bool) -> Sampling:
    """What the settings mean for one video: `auto` takes keyframes if they are at most a sampling interval apart.

    Args:
        index: packets of the video.
        fps: sampled frames per second, or auto.
        keyframes: decode keyframes alone; a stream without any, such as one with intra refresh, is decoded whole.
        all_frames: take every frame, whatever `fps` says.
    """
    rate = AUTO_FPS if fps == "auto" else fps
    close = fps == "auto" and keyframe_spacing_s(index) <= 1 / AUTO_FPS
    return Sampling(fps=0.0 if all_frames else rate, keyframes=bool(index.is_key.any()) and (keyframes or close))


def keyframe_spacing_s(index: PacketIndex) -> float:
    """The longest time in seconds without a keyframe, from the first frame to the last; infinite where there is none."""
    if not index.is_key.any():
        return math.inf
    times = np.sort(np.concatenate([index.pts[index.is_key], [index.pts.min(), index.pts.max()]]))
    return float(np.diff(times).max() * index.time_base)


def expected_frames(container: InputContainer, stream: VideoStream, index: PacketIndex) -> int:
    """How many frames there should be: as many as there are packets, or as the container declares where it declares more.

    An AVI declares empty chunks too, which stand for frames that the recorder dropped; its ticks count them.
    """
    if index.has_hidden:
        return 0  # the container counts what its edit list hides
    num_dropped = int(np.ptp(index.pts)) + 1 - len(index.pts) if container.format.name == "avi" and len(index.pts) else 0
    return max(len(index.pts), stream.frames - num_dropped)


def due_frames(index: PacketIndex, fps: Fraction) -> set[int]:
    """Numbers, in presentation order, of the frames that are samples."""
    if not fps:
        return set(range(len(index.pts)))
    in_order = np.sort(index.pts)
    numerator, early, denominator = _slots_per_tick(index.time_base, fps)
    ticks = in_order - in_order[:1]
    if len(ticks) and int(ticks[-1]) * numerator + early >= 2**63:
        ticks = ticks.astype(object)  # Python's integers, which have no end
    slots = (ticks * numerator + early) // denominator
    return set(np.flatnonzero(np.append(len(slots) > 0, slots[1:] > slots[:-1])).tolist())


def sample_slot(ticks: int, time_base: Fraction, fps: Fraction) -> int:
    """Number of the last sample that is due at `ticks` after the first frame: sample k is the first frame whose slot is k or more.

    Matroska rounds times to milliseconds, so a frame may be half a tick early; by no more than half a millisecond where the tick is longer.
    """
    numerator, early, denominator = _slots_per_tick(time_base, fps)
    return (ticks * numerator + early) // denominator


@functools.cache
def _slots_per_tick(time_base: Fraction, fps: Fraction) -> tuple[int, int, int]:
    """Slots in a tick, and the part of a slot by which a frame may be early, over one denominator; fractions are dear."""
    rate, early = time_base * fps, min(time_base, Fraction(1, 1000)) / 2 * fps
    return rate.numerator * early.denominator, early.numerator * rate.denominator, rate.denominator * early.denominator


def microseconds(ticks: int, time_base: Fraction) -> int:
    """Ticks in microseconds, rounded half up."""
    return (2_000_000 * ticks * time_base.numerator + time_base.denominator) // (2 * time_base.denominator)


def log_line(text: str) -> str:
    """A log line without the address of the decoder's object, so that it reads the same in every run."""
    return re.sub(r"\[(\w+) @ 0x[0-9a-f]+\]", r"[\1]", text).strip()
