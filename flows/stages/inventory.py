"""What the inputs hold: every video found, with its id, and what manifests say of it. What is known from before is not read again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curation.ingest import IngestConfig
from curation.sources import Manifest, find_videos, identify, is_manifest, is_uri, listed_videos, read_manifest, seconds_since_change
from flows.job import Job
from flows.runners import Failure, raise_if_machine_failed, say, track
from flows.stages.faults import left_by
from flows.stages.presence import if_present, proven_presence
from warehouse.files import known_files, remember_files
from warehouse.forgotten import forgotten_in
from warehouse.local_path import is_lake
from warehouse.records import Left, VideoInfo, VideoRef

__all__ = ["Inventory", "take_inventory"]

FILES_PER_COMMIT = 1024
"""Files read, at least, between two notes of their content in the lake."""
_COMMIT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Everything that was found."""

    videos: tuple[VideoRef, ...]
    """sorted by path; without an id if they are not files"""
    left: Mapping[str, Left]
    """why some are left for the next run, by URI"""
    manifests: tuple[tuple[Manifest, Mapping[str, VideoInfo]], ...]
    """each with what it says, by URI"""
    num_forgotten: int = 0
    """videos that are left out because they, or their patients, were forgotten"""

    @property
    def num_files(self) -> int:
        """Videos found, those left for the next run included."""
        return len(self.videos) + len(self.left)


def take_inventory(job: Job, inputs: Sequence[str], *, config: IngestConfig, patient_key: bytes | None) -> Inventory:
    """Find and identify everything that is named; what cannot be read now, or is still being written, is left for the next run.

    Raises:
        FileNotFoundError: nothing was found at an input.
        OSError: an input folder or store cannot be listed.
        ValueError: a manifest or a URI cannot be used.
    """
    tables = [name for name in inputs if is_manifest(Path(name))]
    others = [name for name in inputs if name not in tables]
    found: dict[str, VideoRef] = {}
    lakes: set[str] = set()
    forgotten = Forgotten(job.lake.root)
    manifests = []
    for manifest in [read_manifest(Path(name), patient_key) for name in tables]:
        listed = [
            (video, info) for video, info in listed_videos(manifest, lakes=lakes) if not forgotten.leaves_out(info.patient_id, video.uri)
        ]
        found.update((video.uri, video) for video, _ in listed)
        manifests.append((manifest, {video.uri: info for video, info in listed}))
    found.update((video.uri, video) for video in (find_videos(others, lakes=lakes) if others or not found else ()))
    found = {uri: video for uri, video in found.items() if uri not in forgotten.uris}
    for lake in sorted(lakes):
        what = f"the lake {lake} is made of" if is_lake(lake) else f"select-for-labels or predict wrote to {lake}"
        say(f"left out what {what}: its packs, pictures and pages are no videos")
    videos, left = _identified(job, sorted(found.values(), key=lambda video: video.path), config, forgotten)
    told = tuple((manifest, {uri: info for uri, info in infos.items() if uri not in forgotten.uris}) for manifest, infos in manifests)
    return Inventory(videos=videos, left=left, manifests=told, num_forgotten=len(forgotten.uris))


class Forgotten:
    """Which of the videos found a lake has forgotten, by content or by patient."""

    def __init__(self, root: Path) -> None:
        self.uris: set[str] = set()
        self._is_forgotten = forgotten_in(root)

    def leaves_out(self, identifier: str | None, uri: str) -> bool:
        """Whether this video id or pseudonym was forgotten; remembers the place if so."""
        if not identifier or not self._is_forgotten(identifier):
            return False
        self.uris.add(uri)
        return True


def _identified(
    job: Job, found: Sequence[VideoRef], config: IngestConfig, forgotten: Forgotten
) -> tuple[tuple[VideoRef, ...], dict[str, Left]]:
    """The videos with their ids, in the same order, and why others are left."""
    known = {} if config.rehash else known_files(job.lake)
    identified: dict[str, VideoRef] = {}
    unknown: list[VideoRef] = []
    for video in found:
        video_id = known.get((video.uri, video.version)) if video.version else None
        if video_id is None:
            unknown.append(video)
        else:
            identified[video.uri] = replace(video, video_id=video_id)
    left: dict[str, Left] = {}
    for video, result in _read(job, unknown, config, forgotten):
        if isinstance(result, Left):
            left[video.uri] = result
        elif not forgotten.leaves_out(result.video_id, video.uri):
            identified[video.uri] = result
    return tuple(identified[video.uri] for video in found if video.uri not in left and video.uri not in forgotten.uris), left


def _read(job: Job, videos: Sequence[VideoRef], config: IngestConfig, forgotten: Forgotten) -> list[tuple[VideoRef, VideoRef | Left]]:
    """Read videos whose content is not known; those that could not even be looked at are asked for here, at the price of a look."""
    seen = [video for video in videos if video.version is not None or is_uri(video.path)]
    results: list[tuple[VideoRef, VideoRef | Left]] = [
        (video, identify(video)) for video in videos if video.version is None and not is_uri(video.path)
    ]
    _let_settle(seen, config.settle_s)
    new: list[VideoRef] = []
    noted = time.monotonic()
    with proven_presence(job.lake.root, seen) as presence:
        read = job.runner.map_unordered(if_present, seen, presence=presence, work=identify)
        for place, result in track(read, description="hash videos", total=len(seen)):
            video = seen[place]
            if isinstance(result, Failure):
                raise_if_machine_failed(result)
                result = left_by(result) or Left(reason="io_error", detail=result.detail)  # reading alone says nothing of a video
            results.append((video, result))
            if isinstance(result, VideoRef) and not forgotten.leaves_out(result.video_id, video.uri):
                new.append(result)
            if len(new) >= FILES_PER_COMMIT and time.monotonic() - noted > _COMMIT_EVERY_S:
                remember_files(job.lake, new)
                new.clear()
                noted = time.monotonic()
    remember_files(job.lake, new)
    return results


def _let_settle(videos: Sequence[VideoRef], settle_s: float) -> None:
    """Wait until the youngest is old enough; `identify` then sees which have changed since they were found."""
    missing_s = max((settle_s - seconds_since_change(video) for video in videos), default=0.0) if settle_s else 0.0
    if missing_s > 0:
        time.sleep(missing_s)
