"""Sampling in presentation time: what a sampled frame is, which frames are due, and what is noted while they are decoded."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np

__all__ = ["DecodeReport", "Decoder", "DecoderDisagreement", "SampledFrame", "log_line", "microseconds", "sample_slot"]

Decoder = Literal["decord", "pyav"]
MAX_MESSAGES = 8
"""lines of a decoder's log that are kept"""


class DecoderDisagreement(RuntimeError):
    """decord cannot be trusted with this file; the frames it has given so far must be thrown away."""


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


def sample_slot(ticks: int, time_base: Fraction, fps: Fraction) -> int:
    """Number of the last sample that is due at `ticks` after the first frame: sample k is the first frame whose slot is k or more.

    Matroska rounds times to milliseconds, so a frame may be half a tick early; by no more than half a millisecond where the tick is longer.
    """
    early = min(time_base, Fraction(1, 1000)) / 2
    return int((ticks * time_base + early) * fps)


def microseconds(ticks: int, time_base: Fraction) -> int:
    """Ticks in microseconds, rounded half up."""
    return (2_000_000 * ticks * time_base.numerator + time_base.denominator) // (2 * time_base.denominator)


def log_line(text: str) -> str:
    """A log line without the address of the decoder's object, so that it reads the same in every run."""
    return re.sub(r"\[(\w+) @ 0x[0-9a-f]+\]", r"[\1]", text).strip()
