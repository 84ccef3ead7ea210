"""Stage run: videos to frames and packs, in batches that are each committed whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from curation.config import IngestConfig
from curation.discover import local_path
from curation.ingest import INGEST_VERSION, SCRATCH, evidence_path, ingest_key, ingest_video, reject_for_failure
from curation.manifest import Manifest
from curation.manifest import patient_key as pseudonym_key
from curation.remote import exists, is_uri
from curation.scratch import remove_dead_scratch
from curation.text_detector import load_text_detector
from flows.inventory import Inventory, take_inventory
from flows.job import Job
from flows.progress import say, track
from flows.reject_reasons import refuse_all_rejected, rejects_in_words
from flows.runners import Failure, raise_if_machine_failed
from warehouse.artifacts import artifact_of
from warehouse.files import remember_gone
from warehouse.lineage import RunPlan, RunRecorder, completed_run_id, plan_run
from warehouse.queries import accounted_files, given_up_files
from warehouse.records import Artifact, IngestedVideo, Reject, VideoInfo, VideoRef
from warehouse.store import ABANDONED_AFTER_S, content_id, remove_abandoned

__all__ = ["IngestSummary", "run_ingest"]

MANIFEST_VERSION = 1
VIDEOS_PER_COMMIT = 256
SHOWN_LEFT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSummary:
    """What became of the files given."""

    num_files: int
    num_known: int
    """already decided by an earlier ingest with the same settings, those that moved since included"""
    num_moved: int
    """found under another name than before, where there is nothing of the kind any more"""
    num_left: int
    """neither ingested nor rejected but left for the next run, as they are still being written or cannot be reached"""
    num_ingested: int
    num_rejected: int
    num_frames_kept: int


def run_ingest(job: Job, inputs: Sequence[str], *, config: IngestConfig) -> IngestSummary:
    """Ingest every video that the lake does not have yet; each file ends in `videos` or `rejects`, or is left for the next run.

    Raises:
        FileNotFoundError: nothing was found at an input.
        TextCheckFailed: text is to be looked for, and the detector does not work here.
        NothingIngestedError: all files were rejected, now or before; what was decided is recorded.
    """
    if config.text != "off":
        load_text_detector()  # without it every frame would end in quarantine
    patient_key = pseudonym_key()
    with _one_at_a_time(job.lake.root):
        return _ingest(job, inputs, config, patient_key)


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Two that knew the same of the lake would both ingest what is new, and each clear away what the other has staged."""
    lock = FileLock(root / "ingest.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another ingest works on this lake; waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _ingest(job: Job, inputs: Sequence[str], config: IngestConfig, patient_key: bytes | None) -> IngestSummary:
    key = ingest_key(config)
    known_videos, known_rejects = accounted_files(job.lake, key)
    ingested_before = frozenset(known_videos)
    given_up = given_up_files(job.lake, key)
    inventory = take_inventory(job, inputs, config=config, patient_key=patient_key)
    ids = {video.uri: video.video_id for video in inventory.videos if video.video_id}
    places = {video_id: place for (_, video_id), place in given_up.items() if video_id is not None}
    if config.retry_failed:
        gone = {video_id for video_id, place in places.items() if not _is_still_there(place, video_id, ids, inventory)}
        known_rejects = {pair for pair in known_rejects - given_up.keys() if pair[1] not in gone}  # a copy of what is gone stands for it
    else:
        known_videos = places | known_videos
    new: list[VideoRef] = []
    rejects: list[Reject] = []
    moved: list[str] = []
    num_known = 0
    for video in inventory.videos:
        first = known_videos.get(video.video_id)
        if first is None and (video.uri, video.video_id or None) not in known_rejects:
            known_videos |= {video.video_id: video.uri} if video.video_id else {}  # a file without an id is rejected by ingest
            new.append(video)
        elif first is not None and first != video.uri and not _is_still_there(first, video.video_id, ids, inventory):
            known_videos[video.video_id] = video.uri
            moved.append(first)
        elif first in (None, video.uri) or (video.uri, video.video_id) in known_rejects:
            num_known += 1
        else:
            rejects.append(_duplicate(video, key))
    remember_gone(job.lake, [uri for uri in moved if uri not in ids])

    done = [_without_work(reject) for reject in rejects]
    bar = track(_in_batches(new, rejects, job, config, patient_key, given_up), description="ingest videos", total=len(new))
    left = dict(inventory.left)
    for video, result in zip(new, bar, strict=True):
        if result.left is None:
            done.append(result)
        else:
            left[video.uri] = result.left
    for manifest, infos in inventory.manifests:
        _record_manifest(job, manifest, infos, ids)
    for folder in ("frames", "staging"):
        remove_abandoned(job.lake.root / folder, older_than_s=ABANDONED_AFTER_S)
    remove_dead_scratch(job.lake.root / SCRATCH)
    num_rejected = sum(item.reject is not None for item in done)
    num_kept = sum(item.pack.num_frames for item in done if item.pack is not None)
    say(
        f"ingest: {inventory.num_files} files, {num_known + len(moved)} known already, {len(done) - num_rejected} ingested, "
        f"{num_rejected} rejected, {num_kept} frames kept"
        + (f", {len(moved)} of those known have moved" if moved else "")
        + (f", {len(left)} left for the next run" if left else "")
    )
    for uri, why in sorted(left.items())[:SHOWN_LEFT]:
        say(f"left for the next run: {uri} ({why})")
    if num_rejected == len(done) and not left and not any(video.video_id in ingested_before for video in inventory.videos):
        refuse_all_rejected(job.lake, [video.uri for video in inventory.videos], key)
    if num_rejected:
        say("rejected: " + rejects_in_words((item.reject.uri, item.reject.reason, item.reject.detail) for item in done if item.reject))
    return IngestSummary(
        num_files=inventory.num_files,
        num_known=num_known + len(moved),
        num_moved=len(moved),
        num_left=len(left),
        num_ingested=len(done) - num_rejected,
        num_rejected=num_rejected,
        num_frames_kept=num_kept,
    )


def _is_still_there(first: str, video_id: str, ids: Mapping[str, str], inventory: Inventory) -> bool:
    """Whether the place where a content was seen first holds it yet, as far as this run knows."""
    if first in ids:
        return ids[first] == video_id
    place = local_path(first)
    return first in inventory.left or (exists(first) if is_uri(place) else os.path.exists(place))


def _record_manifest(job: Job, manifest: Manifest, infos: Mapping[str, VideoInfo], ids: Mapping[str, str]) -> None:
    """What the manifest says of the videos whose content could be read; again only where it, or one of them, has changed."""
    rows = [
        {"video_id": ids[uri], "uri": uri, "manifest_sha256": manifest.sha256, **asdict(info)}
        for uri, info in sorted(infos.items())
        if uri in ids
    ]
    source = Artifact(
        artifact_id=manifest.sha256, kind="manifest", uri=Path(manifest.path).as_uri(), sha256=manifest.sha256, num_rows=len(rows)
    )
    plan = plan_run(stage="manifest", version=MANIFEST_VERSION, config={"rows": content_id(rows)}, inputs=[source])
    if completed_run_id(job.lake, plan) is None:
        with job.record(plan) as run:
            run.rows("manifest_videos", rows)
            run.metrics["num_videos"] = len(rows)
    say(f"manifest: {manifest.path} names {len(infos)} videos, {len(rows)} of them readable")


def _duplicate(video: VideoRef, key: str) -> Reject:
    detail = f"the same content as video {video.video_id[:16]}"
    return Reject(uri=video.uri, video_id=video.video_id, ingest_key=key, num_bytes=video.num_bytes, reason="duplicate", detail=detail)


def _without_work(reject: Reject) -> IngestedVideo:
    return IngestedVideo(video=None, pack=None, frames_part=None, previews_part=None, reject=reject)


def _in_batches(
    videos: Sequence[VideoRef],
    rejects: Sequence[Reject],
    job: Job,
    config: IngestConfig,
    patient_key: bytes | None,
    given_up: Collection[tuple[str, str | None]],
) -> Iterator[IngestedVideo]:
    """Ingest batch by batch, one run and one transaction each: videos' rows, packs, frames and rejects. The first run takes the rejects.

    What a run decides replaces what earlier ones said of these files; what it leaves for later is no part of it.
    """
    batches = [videos[start : start + VIDEOS_PER_COMMIT] for start in range(0, len(videos), VIDEOS_PER_COMMIT)]
    if rejects and not batches:
        batches = [[]]
    limits: dict[str, Any] = {"timeout_s": config.timeout_s, "max_memory_mb": config.max_memory_mb}
    shared: dict[str, Any] = {"lake_root": str(job.lake.root), "config": config, "patient_key": patient_key}
    for number, batch in enumerate(batches):
        decided = [_without_work(reject) for reject in rejects] if number == 0 else []
        inputs = [artifact_of(item.reject) for item in decided if item.reject is not None]
        with job.record(_plan(job, config, [*inputs, *map(artifact_of, batch)])) as run:
            for video, result in zip(batch, job.runner.map(ingest_video, batch, **limits, **shared), strict=True):
                if isinstance(result, Failure):
                    raise_if_machine_failed(result)
                    result = reject_for_failure(result.item, result.reason, result.detail, config)
                if result.left is None:
                    inputs.append(artifact_of(video))
                    decided.append(result)
                yield result
            run.plan, run.is_void = _plan(job, config, inputs), not decided
            _collect(run, decided, job)
            _take_back(run, decided, given_up, ingest_key(config))
        if not run.is_superfluous:
            _forget_staged(decided, job)


def _plan(job: Job, config: IngestConfig, inputs: Sequence[Artifact]) -> RunPlan:
    """A run that the lake does not have: one over the same files whose rows have been taken back is named as what this one follows."""
    after: list[str] = []
    while True:
        settings = {**asdict(config), "after": after} if after else config
        plan = plan_run(stage="ingest", version=INGEST_VERSION, config=settings, inputs=inputs)
        earlier = completed_run_id(job.lake, plan)
        if earlier is None:
            return plan
        after = [*after, earlier]


def _take_back(run: RunRecorder, batch: Sequence[IngestedVideo], given_up: Collection[tuple[str, str | None]], key: str) -> None:
    """The rejects of these files by earlier runs; of a file that was given up also where it has moved since."""
    pairs = {(item.uri, item.video_id) for row in batch for item in (row.video, row.reject) if item is not None}
    anew = [row.video or row.reject for row in batch if row.reject is None or row.reject.reason != "duplicate"]
    contents = {item.video_id for item in anew if item is not None and item.video_id is not None}
    pairs |= {pair for pair in given_up if pair[1] in contents}
    run.supersede("rejects", [{"ingest_key": key, "uri": uri, "video_id": video_id} for uri, video_id in sorted(pairs, key=str)])


def _collect(run: RunRecorder, batch: Sequence[IngestedVideo], job: Job) -> None:
    videos = [item.video for item in batch if item.video is not None]
    packs = [pack for item in batch for pack in (item.pack, item.spare) if pack is not None]
    keys = {video.video_id: video.ingest_key for video in videos}
    headers = [(item.video, item.info) for item in batch if item.video is not None and item.info is not None]
    run.rows("videos", videos)
    run.rows("manifest_videos", [{"video_id": video.video_id, "uri": video.uri, **asdict(info)} for video, info in headers])
    run.rows("packs", [{**asdict(pack), "ingest_key": keys[pack.video_id]} for pack in packs])
    run.rows("rejects", [item.reject for item in batch if item.reject is not None])
    run.parts("frames", [job.lake.root / item.frames_part for item in batch if item.frames_part is not None])
    run.parts("previews", [job.lake.root / item.previews_part for item in batch if item.previews_part is not None])
    run.output(*map(artifact_of, packs))
    run.metrics.update(
        num_videos=len(videos),
        num_rejects=sum(item.reject is not None for item in batch),
        num_frames_kept=sum(video.num_frames_kept for video in videos),
    )


def _forget_staged(batch: Sequence[IngestedVideo], job: Job) -> None:
    """The rows are in the lake now; the staged copies have served."""
    for item in batch:
        decided = item.video or item.reject
        evidence = evidence_path(decided.video_id, decided.ingest_key) if decided and decided.video_id else None
        for staged in (item.frames_part, item.previews_part, evidence):
            if staged is not None:
                (job.lake.root / staged).unlink(missing_ok=True)
