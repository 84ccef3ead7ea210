"""Proof that a worker sees the same lake and the same source files as the process that started the run.

A node of a cluster may lack the mount of the archive, or have another disk at the path of the lake. Whatever a worker there said of a video
would be said of the machine.
"""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from curation.filters import filter_versions
from curation.sources import is_uri
from flows.runners import WrongMachine
from warehouse.plug_ins import PlugInError
from warehouse.records import VideoRef

__all__ = ["Presence", "if_present", "proven_presence"]

Result = TypeVar("Result")

_SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What every worker of a run must see."""

    token: str
    """file in the lake that exists for as long as the run works"""
    samples: tuple[tuple[str, ...], ...]
    """for each file system that the videos lie on, some of their paths; one of them must be there"""
    filters: dict[str, int]
    """installed filters of frames with their versions"""


@contextlib.contextmanager
def proven_presence(lake_root: Path, videos: Sequence[VideoRef]) -> Iterator[Presence]:
    """Put a token into the lake for the time of a run, and name some of its videos.

    Raises:
        OSError: the lake cannot be written.
    """
    folder = lake_root / "staging"
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / f".presence-{uuid.uuid4().hex}.tmp"  # what a killed run leaves is removed with other temporary files
    token.touch()
    try:
        yield Presence(token=str(token), samples=_samples(videos), filters=filter_versions())
    finally:
        token.unlink(missing_ok=True)


def if_present(item: object, *, presence: Presence, work: Callable[..., Result], **shared: object) -> Result:
    """`work(item, **shared)`, on a machine that sees what it should and has the filters that it should.

    Raises:
        WrongMachine: this one does not; the message names it.
    """
    if not os.path.exists(presence.token):
        raise WrongMachine(f"{socket.gethostname()} does not see the lake: another disk, or none, is at its path")
    for paths in presence.samples:
        if not any(os.path.lexists(path) for path in paths):
            raise WrongMachine(f"{socket.gethostname()} does not see {os.path.dirname(paths[0])!r}: mount it there")
    try:
        if (here := filter_versions()) != presence.filters:
            raise WrongMachine(
                f"{socket.gethostname()} has {_in_words(here)}, expected {_in_words(presence.filters)}: install the same packages there"
            )
        return work(item, **shared)
    except PlugInError as error:  # the fault of a package, not of the video
        raise WrongMachine(f"{socket.gethostname()}: {error}") from error


def _in_words(filters: Mapping[str, int]) -> str:
    return "the filters " + ", ".join(f"{name} {version}" for name, version in sorted(filters.items())) if filters else "no added filters"


def _samples(videos: Sequence[VideoRef]) -> tuple[tuple[str, ...], ...]:
    """Paths of local videos spread over each file system that holds some."""
    devices: dict[str, int | None] = {}
    by_device: dict[int, list[str]] = defaultdict(list)
    for video in videos:
        path = video.images[0] if video.images else video.path
        if is_uri(path):
            continue
        folder = os.path.dirname(path)
        if folder not in devices:
            devices[folder] = _device(folder)
        if (device := devices[folder]) is not None and os.path.lexists(path):
            by_device[device].append(path)
    return tuple(
        tuple(dict.fromkeys(paths[number * (len(paths) - 1) // (_SAMPLES - 1)] for number in range(_SAMPLES)))
        for paths in by_device.values()
    )


def _device(folder: str) -> int | None:
    try:
        return os.stat(folder).st_dev
    except OSError:
        return None
