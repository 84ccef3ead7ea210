"""What the inputs hold: every video found, with its id, and what manifests say of it. What is known from before is not read again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curation.config import IngestConfig
from curation.discover import find_videos, seconds_since_change
from curation.identify import LeftForLater, identify
from curation.manifest import Manifest, is_manifest, listed_videos, read_manifest
from flows.job import Job
from flows.progress import track
from flows.runners import Failure, raise_if_machine_failed
from warehouse.files import known_files, remember_files
from warehouse.records import VideoInfo, VideoRef

__all__ = ["Inventory", "take_inventory"]

FILES_PER_COMMIT = 1024
"""files read between two notes of their content in the lake: after a kill no more than these are read again"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Everything that was found."""

    videos: tuple[VideoRef, ...]
    """sorted by path; without an id where they cannot be read"""
    left: Mapping[str, str]
    """why some are left for the next run, by URI"""
    manifests: tuple[tuple[Manifest, Mapping[str, VideoInfo]], ...]
    """each with what it says, by URI"""

    @property
    def num_files(self) -> int:
        """Videos found, those left for the next run included."""
        return len(self.videos) + len(self.left)


def take_inventory(job: Job, inputs: Sequence[str], *, config: IngestConfig, patient_key: bytes | None) -> Inventory:
    """Find and identify everything that is named; a file that is still being written is left for the next run.

    Raises:
        FileNotFoundError: nothing was found at an input.
        OSError: a folder or store cannot be listed.
        ValueError: a manifest or a URI cannot be used.
    """
    tables = [name for name in inputs if is_manifest(Path(name))]
    others = [name for name in inputs if name not in tables]
    found: dict[str, VideoRef] = {}
    manifests = []
    for manifest in [read_manifest(Path(name), patient_key) for name in tables]:
        listed = listed_videos(manifest)
        found.update((video.uri, video) for video, _ in listed)
        manifests.append((manifest, {video.uri: info for video, info in listed}))
    found.update((video.uri, video) for video in (find_videos(others) if others or not found else ()))
    videos, left = _identified(job, sorted(found.values(), key=lambda video: video.path), config)
    return Inventory(videos=videos, left=left, manifests=tuple(manifests))


def _identified(job: Job, found: Sequence[VideoRef], config: IngestConfig) -> tuple[tuple[VideoRef, ...], dict[str, str]]:
    known = {} if config.rehash else known_files(job.lake)
    ids = [known.get((video.uri, video.version)) if video.version else None for video in found]
    unknown = [video for video, video_id in zip(found, ids, strict=True) if video_id is None]
    _let_settle(unknown, config.settle_s)
    read: dict[str, VideoRef] = {}
    left: dict[str, str] = {}
    new: list[VideoRef] = []
    results = track(job.runner.map(identify, unknown), description="hash videos", total=len(unknown))
    for video, result in zip(unknown, results, strict=True):
        if isinstance(result, LeftForLater):
            left[video.uri] = str(result)
            continue
        if isinstance(result, Failure):
            raise_if_machine_failed(result)
            result = video  # not readable, whatever the reason: ingest says so
        read[video.uri] = result
        new.append(result)
        if len(new) == FILES_PER_COMMIT:
            remember_files(job.lake, new)
            new.clear()
    remember_files(job.lake, new)
    trusted = {video.uri: replace(video, video_id=video_id) for video, video_id in zip(found, ids, strict=True) if video_id is not None}
    return tuple({**trusted, **read}[video.uri] for video in found if video.uri not in left), left


def _let_settle(videos: Sequence[VideoRef], settle_s: float) -> None:
    """Wait until the youngest is old enough; `identify` then sees which have changed since they were found."""
    missing_s = max((settle_s - seconds_since_change(video) for video in videos), default=0.0)
    if missing_s > 0:
        time.sleep(missing_s)
