"""Stage run: videos to frames and packs, in batches that are each committed whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
from flows.runners import Failure, raise_if_machine_failed
from warehouse.artifacts import artifact_of
from warehouse.files import remember_gone
from warehouse.lineage import RunRecorder, completed_run_id, plan_run
from warehouse.queries import accounted_files, given_up_files
from warehouse.records import Artifact, IngestedVideo, Reject, VideoInfo, VideoRef
from warehouse.store import content_id, remove_abandoned

__all__ = ["IngestSummary", "run_ingest"]

MANIFEST_VERSION = 1
VIDEOS_PER_COMMIT = 256
SHOWN_LEFT = 10
ABANDONED_AFTER_S = 24 * 3600.0
"""a temporary file that nobody has written to for this long belongs to a killed worker"""


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
    """
    if config.text != "off":
        load_text_detector()  # without it every frame would end in quarantine
    patient_key = pseudonym_key()
    key = ingest_key(config)
    known_videos, known_rejects = accounted_files(job.lake, key)
    given_up = given_up_files(job.lake, key) if config.retry_failed else {}
    known_rejects -= given_up.keys()
    inventory = take_inventory(job, inputs, config=config, patient_key=patient_key)
    ids = {video.uri: video.video_id for video in inventory.videos if video.video_id}
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
            rejects.append(_duplicate(video, key, first))
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


def _duplicate(video: VideoRef, key: str, first_uri: str) -> Reject:
    detail = f"the same content as {first_uri}"
    return Reject(uri=video.uri, video_id=video.video_id, ingest_key=key, num_bytes=video.num_bytes, reason="duplicate", detail=detail)


def _without_work(reject: Reject) -> IngestedVideo:
    return IngestedVideo(video=None, pack=None, frames_part=None, previews_part=None, reject=reject)


def _in_batches(
    videos: Sequence[VideoRef],
    rejects: Sequence[Reject],
    job: Job,
    config: IngestConfig,
    patient_key: bytes | None,
    given_up: Mapping[tuple[str, str | None], str],
) -> Iterator[IngestedVideo]:
    """Ingest batch by batch, one run and one transaction each: videos' rows, packs, frames and rejects. The first run takes the rejects.

    What becomes of files that earlier runs have given up replaces what those runs said; that these runs are named sets this one apart.
    """
    batches = [videos[start : start + VIDEOS_PER_COMMIT] for start in range(0, len(videos), VIDEOS_PER_COMMIT)]
    if rejects and not batches:
        batches = [[]]
    for number, batch in enumerate(batches):
        decided = [_without_work(reject) for reject in rejects] if number == 0 else []
        inputs = [artifact_of(item.reject) for item in decided] + [artifact_of(video) for video in batch]
        again = [pair for pair in ((video.uri, video.video_id or None) for video in batch) if pair in given_up]
        settings = {**asdict(config), "after": sorted({given_up[pair] for pair in again})} if again else config
        with job.record(plan_run(stage="ingest", version=INGEST_VERSION, config=settings, inputs=inputs)) as run:
            run.supersede("rejects", [{"ingest_key": ingest_key(config), "uri": uri, "video_id": video_id} for uri, video_id in again])
            limits: dict[str, Any] = {"timeout_s": config.timeout_s, "max_memory_mb": config.max_memory_mb}
            shared: dict[str, Any] = {"lake_root": str(job.lake.root), "config": config, "patient_key": patient_key}
            for result in job.runner.map(ingest_video, batch, **limits, **shared):
                if isinstance(result, Failure):
                    raise_if_machine_failed(result)
                    result = reject_for_failure(result.item, result.reason, result.detail, config)
                decided.append(result)
                yield result
            _collect(run, decided, job)
        _forget_staged(decided, job)


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
