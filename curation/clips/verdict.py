"""What of the frames of one window becomes a clip: the longest run in which none is private, damaged or still; or why none does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curation.clips.config import ClipConfig
from curation.clips.windows import breaks_footage
from curation.ingest import Sample
from curation.video import nearest_frames

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The fate of one window."""

    first: int
    """position of the clip's first frame among the window's"""
    last: int
    """and of its last, included"""
    shown: tuple[int, ...]
    """position of the frame at each moment of the constant rate"""
    frames_by_reason: dict[str, int]
    """all frames of the window; `kept` are those with no reason"""
    drop_reason: str | None


def judge(samples: Sequence[Sample], config: ClipConfig, *, removed: Mapping[int, str]) -> Verdict:
    """Find the longest run of sound frames; refuse it if it is too short, or most of it is poor.

    Args:
        samples: at least one, with their verdicts, in time order.
        config: what is too short, too poor, and too large a gap.
        removed: why nothing may be shown that has one of these perceptual hashes.
    """
    reasons = [_reason(sample, removed) for sample in samples]
    max_gap_us = config.clip_max_gap_s * 1e6
    runs: list[list[int]] = []
    has_gap = False
    for number, (sample, reason) in enumerate(zip(samples, reasons, strict=True)):
        if breaks_footage(reason):
            continue
        follows = bool(runs) and runs[-1][-1] == number - 1
        is_near = follows and sample.pts_us - samples[number - 1].pts_us <= max_gap_us
        has_gap |= follows and not is_near
        if is_near:
            runs[-1].append(number)
        else:
            runs.append([number])
    counts = dict(sorted(Counter(reason or "kept" for reason in reasons).items()))
    broken = Counter(reason for reason in reasons if breaks_footage(reason))
    why_short = broken.most_common(1)[0][0] if broken else "gap" if has_gap else "too_short"
    if not runs:
        return Verdict(first=0, last=len(samples) - 1, shown=(), frames_by_reason=counts, drop_reason=why_short)
    best = max(runs, key=lambda run: (samples[run[-1]].pts_us - samples[run[0]].pts_us, len(run), -run[0]))
    times = [samples[number].pts_us for number in best]
    shown = tuple(best[place] for place in nearest_frames(times, fps=config.clip_fps, most=config.clip_frames).tolist())
    drop_reason = None
    if len(shown) < config.clip_min_frames:
        drop_reason = why_short
    elif sum(reasons[number] is not None for number in best) > config.clip_max_poor_share * len(best):
        drop_reason = "poor_quality"
    return Verdict(first=best[0], last=best[-1], shown=shown, frames_by_reason=counts, drop_reason=drop_reason)


def _reason(sample: Sample, removed: Mapping[int, str]) -> str | None:
    """Why a frame would be dropped; one too dark to tell a room is nothing to show."""
    if breaks_footage(sample.drop_reason):
        return sample.drop_reason
    if math.isnan(sample.out_of_body):
        return "out_of_body_unchecked"
    return removed.get(sample.phash, sample.drop_reason)
