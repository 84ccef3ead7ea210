"""One clock for all packets of a stream: timestamps that start again go on, and single wild ones are replaced.

Recordings joined end to end (`cat a.mpg b.mpg`, the VOB files of a disc) start their timestamps again. A flipped bit makes one timestamp
wild. In presentation time, every frame behind either would come too late to be shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

__all__ = ["Clock", "continued"]

Ticks = npt.NDArray[np.int64]

_GAP_S = 10
"""a longer step to the next packet is looked at twice; FFmpeg calls it a discontinuity"""
_BACK_S = Fraction(1, 10)
"""decoding times may go back by so much, which is jitter"""
_LONGEST_OUTLIER = 64
"""packets"""
_REORDER = 32
"""packets between the decoding of a picture and its presentation, at most"""
_WRAP_TICKS = 1 << 32
"""a step that FFmpeg makes up where it takes lower timestamps for wrapped ones of 33 bits"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Presentation times of all packets of a stream, in ticks."""

    pts: Ticks
    """[num_packets] in decoding order"""
    num_restarts: int
    """how often the timestamps started again"""
    num_replaced: int
    """timestamps that were wild, and are interpolated"""


def continued(pts: Sequence[int | None], dts: Sequence[int | None], *, time_base: Fraction, frame_ticks: int) -> Clock:
    """Put packets in decoding order on one clock. Without any timestamp, packets are `frame_ticks` apart in decoding order.

    A pause (a step forward) stays as long as the timestamps say.
    """
    decoding = _filled(dts if any(value is not None for value in dts) else pts, frame_ticks)
    if not len(decoding):
        return Clock(pts=decoding, num_restarts=0, num_replaced=0)
    part, is_wild = _parts(decoding, _in_ticks(_GAP_S, time_base), max(frame_ticks, _in_ticks(_BACK_S, time_base)))
    sound = np.flatnonzero(~is_wild)
    smooth = np.interp(np.arange(len(decoding)), sound, decoding[sound]).astype(np.int64) if is_wild.any() else decoding
    is_missing = np.array([value is None for value in pts])
    delay = np.array([0 if value is None else value for value in pts], np.int64) - decoding
    usual = int(np.median(delay[~is_missing])) if not is_missing.all() else 0
    times = smooth + np.where(is_missing, usual, delay)
    num_parts = int(part[-1]) + 1
    num_replaced = int(is_wild.sum())
    for number in range(num_parts):
        here = np.flatnonzero(part == number)
        is_off = _is_off(times[here], smooth[here], usual, frame_ticks, time_base)
        times[here[is_off]] = smooth[here[is_off]] + usual
        num_replaced += int(is_off.sum())
        if number:
            times[here] += times[part == number - 1].max() + frame_ticks - times[here].min()
    return Clock(pts=_distinct(times) if num_replaced or is_missing.any() else times, num_restarts=num_parts - 1, num_replaced=num_replaced)


def _in_ticks(seconds: float | Fraction, time_base: Fraction) -> int:
    return max(1, round(seconds / time_base))


def _filled(values: Sequence[int | None], frame_ticks: int) -> Ticks:
    """The values, with `frame_ticks` to the value before where one is missing."""
    known = next(((place, value) for place, value in enumerate(values) if value is not None), (0, 0))
    filled: list[int] = []
    last = known[1] - (known[0] + 1) * frame_ticks
    for value in values:
        last = value if value is not None else last + frame_ticks
        filled.append(last)
    return np.array(filled, np.int64)


def _parts(decoding: Ticks, gap: int, back: int) -> tuple[Ticks, npt.NDArray[np.bool_]]:
    """Number of the recording that each packet belongs to, from its decoding time, and whether that time is wild.

    A short run of packets is wild if the run behind it goes on where the run before it ended.
    """
    steps = np.diff(decoding)
    begins = np.concatenate([[0], np.flatnonzero((steps < -back) | (steps > gap)) + 1])
    ends = np.append(begins[1:], len(decoding))
    part, is_wild = np.zeros(len(decoding), np.int64), np.zeros(len(decoding), bool)
    number, last = 0, int(decoding[0])
    for run, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        step = int(decoding[begin]) - last
        is_break = run > 0 and not -back <= step <= gap
        follows = int(decoding[ends[run]]) - last if run + 1 < len(begins) else 0
        if is_break and end - begin <= _LONGEST_OUTLIER and 0 < follows <= gap:
            is_wild[begin:end] = True
        else:
            number += is_break and (step < 0 or step >= _WRAP_TICKS)
            last = int(decoding[end - 1])
        part[begin:end] = number
    return part, is_wild


def _is_off(times: Ticks, decoding: Ticks, usual: int, frame_ticks: int, time_base: Fraction) -> npt.NDArray[np.bool_]:
    """Whether a presentation time is before its own decoding, or long after that of the packets that follow it."""
    slack = _in_ticks(2, time_base) + _REORDER * frame_ticks
    later = np.concatenate([decoding[_REORDER:], np.full(min(_REORDER, len(decoding)), np.iinfo(np.int64).max // 2)])
    return (times - decoding < min(0, usual) - slack) | (times > later + slack)


def _distinct(times: Ticks) -> Ticks:
    """The times with those that repeat one tick later."""
    order = np.argsort(times, kind="stable")
    steps = np.arange(len(times))
    result = np.empty_like(times)
    result[order] = np.maximum.accumulate(times[order] - steps) + steps
    return result
