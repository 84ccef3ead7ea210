"""Stage run: videos to frames and packs, in batches that are each committed whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from curation.config import IngestConfig
from curation.discover import find_videos, hash_video
from curation.ingest import INGEST_VERSION, evidence_path, ingest_key, ingest_video, reject_for_failure
from curation.manifest import Manifest, is_manifest, patient_key, read_manifest
from flows.job import Job
from flows.progress import say, track
from flows.runners import Failure, raise_if_machine_failed
from warehouse.artifacts import artifact_of
from warehouse.lineage import RunRecorder, completed_run_id, plan_run
from warehouse.queries import accounted_files
from warehouse.records import Artifact, IngestedVideo, Reject, VideoRef
from warehouse.store import content_id, remove_abandoned

__all__ = ["IngestSummary", "run_ingest"]

MANIFEST_VERSION = 1
VIDEOS_PER_COMMIT = 256
ABANDONED_AFTER_S = 24 * 3600.0
"""a temporary file that nobody has written to for this long belongs to a killed worker"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSummary:
    """What became of the files given."""

    num_files: int
    num_known: int
    """already decided by an earlier ingest with the same settings"""
    num_ingested: int
    num_rejected: int
    num_frames_kept: int


def run_ingest(job: Job, inputs: Sequence[str], *, config: IngestConfig) -> IngestSummary:
    """Ingest every video that the lake does not have yet; each file ends in `videos` or `rejects`.

    Raises:
        FileNotFoundError: nothing was found at an input.
    """
    tables = [name for name in inputs if is_manifest(Path(name))]
    others = [name for name in inputs if name not in tables]
    manifests = [read_manifest(Path(name), patient_key()) for name in tables]
    listed = {Path(path) for manifest in manifests for path in manifest.videos}
    paths = tuple(sorted(listed.union(find_videos(others) if others or not listed else ())))
    key = ingest_key(config)
    hashes = track(job.runner.map(hash_video, [str(path) for path in paths]), description="hash videos", total=len(paths))
    known_videos, known_rejects = accounted_files(job.lake, key)
    new: list[VideoRef] = []
    rejects: list[Reject] = []
    num_known = 0
    video_ids: dict[str, str] = {}
    for path, result in zip(paths, hashes, strict=True):
        uri = path.as_uri()
        video_id = None if isinstance(result, Failure) else result.video_id or None
        if video_id is not None:
            video_ids[str(path)] = video_id
        if (uri, video_id) in known_rejects or (video_id is not None and known_videos.get(video_id) == uri):
            num_known += 1
        elif isinstance(result, Failure):
            rejects.append(Reject(uri=uri, video_id=None, ingest_key=key, num_bytes=0, reason="unreadable", detail=result.detail))
        elif not result.video_id:  # not readable: ingest makes it a reject with its reason
            new.append(result)
        elif result.video_id in known_videos:
            rejects.append(_duplicate(result, uri, key, known_videos[result.video_id]))
        else:
            known_videos[result.video_id] = uri
            new.append(result)

    done = [_without_work(reject) for reject in rejects]
    bar = track(_in_batches(new, rejects, job, config), description="ingest videos", total=len(new))
    done += list(bar)
    for manifest in manifests:
        _record_manifest(job, manifest, video_ids)
    for folder in ("frames", "staging"):
        remove_abandoned(job.lake.root / folder, older_than_s=ABANDONED_AFTER_S)
    num_rejected = sum(item.reject is not None for item in done)
    num_kept = sum(item.pack.num_frames for item in done if item.pack is not None)
    say(
        f"ingest: {len(paths)} files, {num_known} known already, {len(done) - num_rejected} ingested, {num_rejected} rejected, "
        f"{num_kept} frames kept"
    )
    return IngestSummary(
        num_files=len(paths),
        num_known=num_known,
        num_ingested=len(done) - num_rejected,
        num_rejected=num_rejected,
        num_frames_kept=num_kept,
    )


def _record_manifest(job: Job, manifest: Manifest, video_ids: dict[str, str]) -> None:
    """What the manifest says of the videos whose content could be read; again only where it, or one of them, has changed."""
    rows = [
        {"video_id": video_ids[path], "uri": Path(path).as_uri(), "manifest_sha256": manifest.sha256, **asdict(info)}
        for path, info in sorted(manifest.videos.items())
        if path in video_ids
    ]
    source = Artifact(
        artifact_id=manifest.sha256, kind="manifest", uri=Path(manifest.path).as_uri(), sha256=manifest.sha256, num_rows=len(rows)
    )
    plan = plan_run(stage="manifest", version=MANIFEST_VERSION, config={"rows": content_id(rows)}, inputs=[source])
    if completed_run_id(job.lake, plan) is None:
        with job.record(plan) as run:
            run.rows("manifest_videos", rows)
            run.metrics["num_videos"] = len(rows)
    say(f"manifest: {manifest.path} names {len(manifest.videos)} videos, {len(rows)} of them readable")


def _duplicate(video: VideoRef, uri: str, key: str, first_uri: str) -> Reject:
    detail = f"the same content as {first_uri}"
    return Reject(uri=uri, video_id=video.video_id, ingest_key=key, num_bytes=video.num_bytes, reason="duplicate", detail=detail)


def _without_work(reject: Reject) -> IngestedVideo:
    return IngestedVideo(video=None, pack=None, frames_part=None, previews_part=None, reject=reject)


def _in_batches(videos: Sequence[VideoRef], rejects: Sequence[Reject], job: Job, config: IngestConfig) -> Iterator[IngestedVideo]:
    """Ingest batch by batch, one run and one transaction each: videos' rows, packs, frames and rejects. The first run takes the rejects."""
    batches = [videos[start : start + VIDEOS_PER_COMMIT] for start in range(0, len(videos), VIDEOS_PER_COMMIT)]
    if rejects and not batches:
        batches = [[]]
    for number, batch in enumerate(batches):
        decided = [_without_work(reject) for reject in rejects] if number == 0 else []
        inputs = [artifact_of(item.reject) for item in decided] + [artifact_of(video) for video in batch]
        with job.record(plan_run(stage="ingest", version=INGEST_VERSION, config=config, inputs=inputs)) as run:
            for result in job.runner.map(ingest_video, batch, timeout_s=config.timeout_s, lake_root=str(job.lake.root), config=config):
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
    run.rows("videos", videos)
    run.rows("packs", [{**asdict(pack), "ingest_key": keys[pack.video_id]} for pack in packs])
    run.rows("rejects", [item.reject for item in batch if item.reject is not None])
    run.parts("frames", [job.lake.root / item.frames_part for item in batch if item.frames_part is not None])
    run.parts("previews", [job.lake.root / item.previews_part for item in batch if item.previews_part is not None])
    run.output(*map(artifact_of, packs))
    run.metrics.update(
        num_videos=len(videos), num_rejects=len(batch) - len(videos), num_frames_kept=sum(video.num_frames_kept for video in videos)
    )


def _forget_staged(batch: Sequence[IngestedVideo], job: Job) -> None:
    """The rows are in the lake now; the staged copies have served."""
    for item in batch:
        decided = item.video or item.reject
        evidence = evidence_path(decided.video_id, decided.ingest_key) if decided and decided.video_id else None
        for staged in (item.frames_part, item.previews_part, evidence):
            if staged is not None:
                (job.lake.root / staged).unlink(missing_ok=True)
