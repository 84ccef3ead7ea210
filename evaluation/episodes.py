"""Episodes: runs of frames in which a finding is seen, with short gaps bridged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Episode", "find_episodes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One finding over a time."""

    label: str
    first: int
    """position of its first frame"""
    last: int
    peak: int
    """position of the frame with the largest value, the first of equals"""
    num_positive: int
    """its positive frames; those of the gaps do not count"""


def find_episodes(
    labels: Sequence[str | None], values: Sequence[float], times_s: Sequence[float], *, gap_s: float, min_frames: int
) -> tuple[Episode, ...]:
    """Episodes of one video, by their start; those of different labels may overlap.

    Args:
        labels: the finding of each frame; None where there is none, or where the frame does not count.
        values: how strong it is.
        times_s: presentation times in seconds, ascending.
        gap_s: positive frames of one label that are at most so far apart are one episode.
        min_frames: positive frames that an episode has at least.
    """
    found: list[Episode] = []
    for label in dict.fromkeys(label for label in labels if label is not None):
        runs: list[list[int]] = []
        for position in (place for place, each in enumerate(labels) if each == label):
            if runs and times_s[position] - times_s[runs[-1][-1]] <= gap_s + 1e-9:
                runs[-1].append(position)
            else:
                runs.append([position])
        for run in runs:
            if len(run) >= min_frames:
                peak = max(run, key=lambda position: (values[position], -position))
                found.append(Episode(label=label, first=run[0], last=run[-1], peak=peak, num_positive=len(run)))
    return tuple(sorted(found, key=lambda episode: (episode.first, episode.label)))
