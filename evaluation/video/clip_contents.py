"""Read every clip of a set once before any work, and leave out those that cannot be used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.tasks import Fingerprint, Item, TaskData, TaskError, files_of, fingerprint
from evaluation.video.clip_frames import ClipError, ClipSource, window_times

__all__ = ["readable_clips"]

_SHOWN = 3


def readable_clips(
    task: TaskData, source: ClipSource, *, num_frames: int, num_windows: int = 1, max_unreadable: float = 0.01, num_workers: int = 2
) -> tuple[TaskData, Fingerprint]:
    """The set without the clips that cannot be read, ends of videos filled in, and the hashes of what is left.

    Each clip's frames are decoded once, at as many times as an evaluation reads.

    Args:
        task: the set.
        source: how videos are read.
        num_frames: frames of a clip's window.
        num_windows: windows of a clip.
        max_unreadable: share of the clips that may be left out; one is always allowed, unless this is 0.
        num_workers: threads that decode.

    Raises:
        TaskError: videos are missing, or too many clips are unreadable.
    """
    files_of(task)
    with ThreadPoolExecutor(num_workers) as pool:
        looked = list(pool.map(lambda item: _looked_at(item, source, num_frames, num_windows), task.items))
    faults = {number: found for number, found in enumerate(looked) if isinstance(found, str)}
    kept = tuple(found for found in looked if isinstance(found, Item))
    if not faults:
        return replace(task, items=kept), fingerprint(replace(task, items=kept), num_workers=num_workers)
    told = [faults[number] for number in sorted(faults)]
    if len(faults) > (max(1, int(max_unreadable * len(task.items))) if max_unreadable > 0 else 0):
        raise TaskError(
            f"task {task.name}: {len(faults):,} of {len(task.items):,} clips cannot be used, more than --max-unreadable "
            f"{max_unreadable:g} allows; replace or remove them ({_some(told)})"
        )
    names = sorted({Path(task.items[number].path).name for number in faults})
    note = f"unreadable: {len(faults):,} of {len(task.items):,} clips are left out ({_some(names)})"
    found = replace(task, items=kept, notes=(*task.notes, note), unreadable=tuple(told))
    return found, fingerprint(found, num_workers=num_workers)


def _looked_at(item: Item, source: ClipSource, num_frames: int, num_windows: int) -> Item | str:
    """The clip with the end of its span, or why it cannot be used."""
    start, end = item.span or (0.0, math.inf)
    try:
        duration = source.duration(item.path)
        if math.isinf(end):
            end = duration
        if start >= duration or end > duration + _slack(duration):
            return f"{item.path!r} is {duration:.2f} s long, and the clip goes from {start:g} s to {end:g} s; correct the times"
        end = min(end, duration)
        if end <= start:
            return f"{item.path!r} has a clip of no length at {start:g} s; correct the times"
        times = window_times(start, end, num_frames=num_frames, num_windows=num_windows)
        source.read(item.path, np.sort(times, axis=None).tolist())
    except ClipError as error:
        return f"{item.path!r}: {error}"
    return replace(item, span=(start, end))


def _slack(duration: float) -> float:
    """Seconds by which a clip may pass the end: tables round, and players count the last frame differently."""
    return min(0.5, 0.02 * duration)


def _some(values: Sequence[str]) -> str:
    more = f"; and {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else ""
    return "; ".join(values[:_SHOWN]) + more
