"""Videos ingested in batches, each a run of its own that is committed whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curation.filters import installed_filters, settings_of
from curation.ingest import INGEST_VERSION, IngestConfig, evidence_path, ingest_key, ingest_video, left_for_later, reject_for_failure
from flows.job import Job
from flows.runners import Failure, raise_if_machine_failed
from flows.stages.faults import left_by
from flows.stages.ingest_plan import GivenUp
from flows.stages.presence import if_present, proven_presence
from warehouse.artifacts import artifact_of
from warehouse.lineage import RunPlan, RunRecorder, completed_run_id, plan_run
from warehouse.records import Artifact, IngestedVideo, Reject, VideoRef

__all__ = ["Batches", "ingest_in_batches"]

VIDEOS_PER_COMMIT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """What all batches of one ingest have in common."""

    job: Job
    config: IngestConfig
    patient_key: bytes | None
    """of the pseudonyms"""
    given_up: GivenUp


def ingest_in_batches(videos: Sequence[VideoRef], rejects: Sequence[Reject], batches: Batches) -> Iterator[tuple[VideoRef, IngestedVideo]]:
    """Ingest videos, the largest first, and yield each as it ends; whichever have ended are committed together, rejects with the first.

    Workers go on while the others are committed. None is left with a long video while the others have nothing to do.
    What a run decides replaces what earlier ones said of these files; what it leaves for later is no part of it.
    """
    job, config = batches.job, batches.config
    limits: dict[str, Any] = {"timeout_s": config.timeout_s, "max_memory_mb": config.max_memory_mb}
    shared: dict[str, Any] = {"lake_root": str(job.lake.root), "config": config, "patient_key": batches.patient_key}
    videos = sorted(videos, key=lambda video: video.num_bytes, reverse=True)
    with proven_presence(job.lake.root, videos) as presence:
        results = job.runner.map_unordered(if_present, videos, presence=presence, work=ingest_video, **limits, **shared)
        outcomes = ((videos[place], _outcome(result, config)) for place, result in results)
        for start in range(0, max(len(videos), 1 if rejects else 0), VIDEOS_PER_COMMIT):
            expected = videos[start : start + VIDEOS_PER_COMMIT]
            yield from _commit_next(itertools.islice(outcomes, len(expected)), expected, rejects if start == 0 else (), batches)


def _commit_next(
    outcomes: Iterator[tuple[VideoRef, IngestedVideo]], expected: Sequence[VideoRef], rejects: Sequence[Reject], batches: Batches
) -> Iterator[tuple[VideoRef, IngestedVideo]]:
    """A run of its own; `expected` is what its record names until it is known which videos have ended."""
    job, config = batches.job, batches.config
    decided = [_without_work(reject) for reject in rejects]
    inputs = [artifact_of(reject) for reject in rejects]
    with job.record(_plan(job, config, [*inputs, *map(artifact_of, expected)])) as run:
        for video, outcome in outcomes:
            if outcome.left is None:
                inputs.append(artifact_of(video))
                decided.append(outcome)
            yield video, outcome
        run.plan, run.is_void = _plan(job, config, inputs), not decided
        _collect(run, decided, job)
        _take_back(run, decided, batches.given_up, ingest_key(config))
    if not run.is_superfluous:
        _forget_staged(decided, job)


def _outcome(result: IngestedVideo | Failure[VideoRef], config: IngestConfig) -> IngestedVideo:
    if not isinstance(result, Failure):
        return result
    raise_if_machine_failed(result)
    left = left_by(result)
    return left_for_later(left) if left else reject_for_failure(result.item, result.reason, result.detail, config)


def _without_work(reject: Reject) -> IngestedVideo:
    return IngestedVideo(video=None, pack=None, frames_part=None, previews_part=None, reject=reject)


def _plan(job: Job, config: IngestConfig, inputs: Sequence[Artifact]) -> RunPlan:
    """A run that the lake does not have: one over the same files whose rows have been taken back is named as what this one follows."""
    after: list[str] = []
    while True:
        settings = settings_of(config) | ({"after": after} if after else {})
        plan = plan_run(stage="ingest", version=INGEST_VERSION, config=settings, inputs=inputs)
        earlier = completed_run_id(job.lake, plan)
        if earlier is None:
            return plan
        after = [*after, earlier]


def _take_back(run: RunRecorder, batch: Sequence[IngestedVideo], given_up: GivenUp, key: str) -> None:
    """The rejects of these files by earlier runs; of a file that was given up also where it has moved since."""
    pairs = {(item.uri, item.video_id) for row in batch for item in (row.video, row.reject) if item is not None}
    anew = [row.video or row.reject for row in batch if row.reject is None or row.reject.reason != "duplicate"]
    contents = {item.video_id for item in anew if item is not None and item.video_id is not None}
    pairs |= {pair for pair in given_up if pair[1] in contents}
    pairs |= {(uri, None) for uri, video_id in pairs if video_id is not None}  # of when it could not be read
    run.supersede("rejects", [{"ingest_key": key, "uri": uri, "video_id": video_id} for uri, video_id in sorted(pairs, key=str)])


def _collect(run: RunRecorder, batch: Sequence[IngestedVideo], job: Job) -> None:
    videos = [item.video for item in batch if item.video is not None]
    packs = [pack for item in batch for pack in (item.pack, item.spare) if pack is not None]
    keys = {video.video_id: video.ingest_key for video in videos}
    headers = [(item.video, item.info) for item in batch if item.video is not None and item.info is not None]
    run.rows("videos", videos)
    run.rows(
        "manifest_videos",
        [{"video_id": video.video_id, "uri": video.uri, "manifest_sha256": None, **asdict(info)} for video, info in headers],
    )
    run.rows("packs", [{**asdict(pack), "ingest_key": keys[pack.video_id]} for pack in packs])
    run.rows("rejects", [item.reject for item in batch if item.reject is not None])
    run.rows("damaged_images", [image for item in batch for image in item.damaged_images])
    frames = [job.lake.root / item.frames_part for item in batch if item.frames_part is not None]
    run.parts("frames", frames, scores=[each.name for each in installed_filters()])
    run.parts("private_frames", [job.lake.root / item.private.part for item in batch if item.private is not None])
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
        for staged in (item.frames_part, item.previews_part, item.private.part if item.private else None, evidence):
            if staged is not None:
                (job.lake.root / staged).unlink(missing_ok=True)
