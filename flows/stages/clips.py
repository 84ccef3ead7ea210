"""Stage run: kept footage to clips, and these to vectors by which they are deduplicated, clustered and selected as frames are."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from curation.clips import (
    CLIPS_VERSION,
    ClipConfig,
    ClipVideo,
    CutVideo,
    Moment,
    Strip,
    clip_encoder_id,
    clip_key,
    cut_key,
    cut_video,
    evidence_path,
    mean_vectors,
    read_clip_vectors,
    write_filmstrip,
)
from curation.ingest import IngestConfig
from curation.sources import scratch_folder
from flows.config import RunConfig
from flows.job import Job, one_at_a_time
from flows.runners import Failure, raise_if_machine_failed, say, track
from flows.stages.faults import left_by, say_what_is_left
from flows.stages.presence import Presence, if_present, proven_presence
from flows.stages.stage import Made
from warehouse import clips as lake_side
from warehouse.artifacts import artifact_of
from warehouse.lake import Lake
from warehouse.lineage import RunPlan, RunRecorder, plan_run
from warehouse.queries import run_json
from warehouse.records import Artifact, Dataset, Left, Reject
from warehouse.removed import removed_hashes
from warehouse.requalification import latest_requalification

__all__ = ["run_clips", "write_strips"]

VIDEOS_PER_COMMIT = 64
_STRIPS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class _Todo:
    """A video to cut, before its samples are read."""

    known: lake_side.KnownFootage
    ingest: IngestConfig
    cut_key: str


def run_clips(job: Job, config: RunConfig, made: Made) -> Made:
    """Cut the clips of every current video that has not been cut by these settings, and average their frames' vectors.

    What a killed run has cut is not cut again. Each clip ends in the table `clips`, kept or refused; a video that cannot be read ends in
    `rejects`, and one that is withheld by a machine's fault is left for the next run.

    Returns:
        What was made so far, with the clips in place of the frames.

    Raises:
        ValueError: no clip is left to choose from; the message says why.
    """
    with one_at_a_time(job.lake.root / "staging" / "clips.lock", busy="another process cuts clips of this lake"):
        _cut_all(job, config.clips)
    artifact = _vectors(job, config.clips, made)
    found = read_clip_vectors(job.lake.root, artifact.uri)
    return replace(made, clips=artifact, parts=found.parts, encoder_id=clip_encoder_id(made.encoder_id))


def _cut_all(job: Job, config: ClipConfig) -> None:
    todo, num_known = _todo(job, config)
    left: dict[str, Left] = {}
    rejects: list[Reject] = []
    if todo:
        with proven_presence(job.lake.root, [one.known.video for one in todo]) as presence:
            for one, outcome in track(_batches(job, todo, config, presence), description="cut clips", total=len(todo)):
                if outcome.left:
                    left[one.known.video.uri] = outcome.left
                elif outcome.reason:
                    rejects.append(_reject(one, outcome))
    refused, num_kept, seconds = lake_side.refusals(job.lake, clip_key(config))
    reasons = ", ".join(f"{reason} {count}" for reason, count in refused.items()) or "none"
    said = f"{len(todo) - len(left)} videos cut, {num_known} known already" if todo else f"nothing new, {num_known} videos known already"
    say(f"clips: {said}; {num_kept} clips kept ({seconds:.0f} s), {sum(refused.values())} refused ({reasons})")
    for reject in rejects:
        say(f"clips: rejected: {reject.uri}: {reject.reason}: {reject.detail}")
    say_what_is_left(left)


def _todo(job: Job, config: ClipConfig) -> tuple[list[_Todo], int]:
    """The videos that are not cut yet as they are now, and how many are."""
    done = lake_side.cut_before(job.lake)
    requalified = latest_requalification(job.lake)
    strictest = float(requalified[1].get("max_out_of_body", 1.0)) if requalified else 1.0
    settings: dict[str, IngestConfig] = {}
    todo = []
    known = lake_side.known_footage(job.lake)
    for one in known:
        if one.run_id not in settings:
            settings[one.run_id] = _ingest_config(run_json(job.lake, one.run_id, "config"), strictest)
        ingest = settings[one.run_id]
        key = cut_key(config, ingest_key=one.ingest_key, max_out_of_body=ingest.max_out_of_body, state=one.state)
        if key not in done:
            todo.append(_Todo(known=one, ingest=ingest, cut_key=key))
    return todo, len(known) - len(todo)


def _ingest_config(recorded: dict[str, Any], strictest: float) -> IngestConfig:
    """The settings of a recorded ingest; a stricter threshold of the latest requalification counts."""
    names = {setting.name for setting in fields(IngestConfig)} - {"thresholds"}
    told: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items() if name in names}
    installed = IngestConfig().thresholds
    thresholds = {name: value for name, value in recorded.get("thresholds", {}).items() if name in installed}
    config = IngestConfig(**told, thresholds=thresholds)
    return replace(config, max_out_of_body=min(config.max_out_of_body, strictest))


def _batches(job: Job, todo: Sequence[_Todo], config: ClipConfig, presence: Presence) -> Iterator[tuple[_Todo, CutVideo]]:
    """Each video with what came of it, as it ends; whichever have ended are a run of their own, committed whole."""
    limits: dict[str, Any] = {"timeout_s": config.clip_timeout_s, "max_memory_mb": max(one.ingest.max_memory_mb for one in todo)}
    shared: dict[str, Any] = {"lake_root": str(job.lake.root), "config": config, "removed": removed_hashes(job.lake)}
    results = job.runner.map_unordered(if_present, _Items(job.lake, todo), presence=presence, work=cut_video, **limits, **shared)
    for start in range(0, len(todo), VIDEOS_PER_COMMIT):
        expected = todo[start : start + VIDEOS_PER_COMMIT]
        with job.record(_plan(expected, config)) as run:
            done: list[tuple[_Todo, CutVideo]] = []
            for place, result in itertools.islice(results, len(expected)):
                outcome = _outcome(result)
                if not outcome.left:
                    done.append((todo[place], outcome))
                yield todo[place], outcome
            run.plan, run.is_void = _plan([one for one, _ in done], config), not done
            _collect(job, run, done)
        if not run.is_superfluous:
            for one, outcome in done:
                for staged in (outcome.part, evidence_path(one.known.video.video_id, one.cut_key)):
                    if staged:
                        (job.lake.root / staged).unlink(missing_ok=True)


class _Items(Sequence[ClipVideo]):
    """What is mapped; the samples of a video are asked for, with those of some after it, when it is about to begin."""

    def __init__(self, lake: Lake, todo: Sequence[_Todo]) -> None:
        self._lake, self._todo = lake, todo
        self._samples: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._todo)

    def __getitem__(self, place: Any) -> Any:
        one = self._todo[place]
        video_id = one.known.video.video_id
        if video_id not in self._samples:
            near = [each.known.video.video_id for each in self._todo[place : place + VIDEOS_PER_COMMIT]]
            found = lake_side.samples_of(self._lake, near)
            self._samples = {each: found[each] for each in near}
        return _item(one, self._samples[video_id])


def _plan(batch: Sequence[_Todo], config: ClipConfig) -> RunPlan:
    settings = {**config.cutting(), "cuts": sorted(one.cut_key for one in batch)}
    return plan_run(stage="clips", version=CLIPS_VERSION, config=settings, inputs=[artifact_of(one.known.video) for one in batch])


def _item(one: _Todo, samples: Sequence[dict[str, Any]]) -> ClipVideo:
    return ClipVideo(
        video=one.known.video,
        ingest_key=one.known.ingest_key,
        ingest=one.ingest,
        cut_key=one.cut_key,
        moments=tuple(Moment(**row) for row in samples),
    )


def _outcome(result: CutVideo | Failure[ClipVideo]) -> CutVideo:
    if not isinstance(result, Failure):
        return result
    raise_if_machine_failed(result)
    left = left_by(result)
    return CutVideo(left=left) if left else CutVideo(reason=result.reason, detail=result.detail)


def _collect(job: Job, run: RunRecorder, done: Sequence[tuple[_Todo, CutVideo]]) -> None:
    rows = [outcome.row for _, outcome in done if outcome.row]
    run.rows("clip_videos", rows)
    run.parts("clips", [job.lake.root / outcome.part for _, outcome in done if outcome.part])
    run.rows("rejects", [_reject(one, outcome) for one, outcome in done if outcome.reason])
    packs = [row for row in rows if row["pack_id"]]
    run.output(
        *(
            Artifact(
                artifact_id=row["pack_id"],
                kind="clip_pack",
                uri=row["path"],
                sha256=row["pack_id"],
                num_bytes=row["num_bytes"],
                num_rows=row["num_kept"],
            )
            for row in packs
        )
    )
    counts = Counter[str]()
    for row in rows:
        counts.update({name: row[name] for name in ("num_clips", "num_kept", "num_frames_decoded")})
    run.metrics.update(num_videos=len(rows), num_rejects=len(done) - len(rows), **counts)


def _reject(one: _Todo, outcome: CutVideo) -> Reject:
    """A reject of cutting carries the key of the cutting, so that no ingest takes it for its own."""
    video = one.known.video
    return Reject(
        uri=video.uri,
        video_id=video.video_id,
        ingest_key=one.cut_key,
        num_bytes=video.num_bytes,
        reason=outcome.reason or "error",
        detail=outcome.detail[:2000],
    )


def _vectors(job: Job, config: ClipConfig, made: Made) -> Artifact:
    """The mean of each clip's frames' vectors; found if it is recorded."""
    key = clip_key(config)
    plan = plan_run(
        stage="clip_vectors",
        version=1,
        config={"encoder_id": made.encoder_id, "clip_key": key, "clips": lake_side.clips_state(job.lake, key)},
        inputs=[*map(artifact_of, made.parts), *lake_side.clip_packs(job.lake, key), *([made.holdout] if made.holdout else [])],
    )

    def work(run: RunRecorder, folder: Path) -> Artifact:
        frames, clips = folder / "frames.parquet", folder / "clips.parquet"
        num_clips, num_held, num_bare = lake_side.export_clip_frames(
            job.lake,
            clip_key=key,
            encoder_id=made.encoder_id,
            holdout_id=made.holdout.artifact_id if made.holdout else None,
            frames=frames,
            clips=clips,
        )
        if num_held or num_bare:
            say(f"clips: {num_held} left out because their video is held out, {num_bare} because no frame in them was kept and embedded")
        if not num_clips:
            raise ValueError(
                f"no clip is left to choose from: {num_held} are of held-out videos and {num_bare} have no embedded frame; "
                '`endoforge sql "FROM clip_funnel"` counts the refused ones by reason'
            )
        out = f"clip_vectors/{plan.stage_key[:32]}"
        mean_vectors(frames, clips, made.parts, lake_root=job.lake.root, folder=out, encoder_id=made.encoder_id)
        run.metrics.update(num_clips=num_clips, num_held_out=num_held, num_without_frame=num_bare)
        return Artifact(artifact_id=plan.stage_key, kind="clip_vectors", uri=out, num_rows=num_clips)

    found = job.done(plan)
    if found is None or (job.lake.root / found.uri / "parts.json").is_file():
        return job.once(plan, work)
    say(f"clips: {found.uri} is not there any more, so the vectors are made again")
    with scratch_folder(job.lake.root / "staging" / plan.stage) as folder:
        work(RunRecorder(plan), folder)  # the same, as recorded
    return found


def write_strips(job: Job, dataset: Dataset) -> Path:
    """Write a contact sheet of some clips of a dataset, one row a clip, below the lake's previews; returns its path."""
    path = job.lake.root / "previews" / f"clips-{dataset.name}.jpg"
    rows = lake_side.clip_strips(job.lake, dataset.dataset_id, _STRIPS)
    strips = [
        Strip(
            label=f"{row['video_id'][:8]}  {row['start_us'] / 1e6:.1f} to {row['end_us'] / 1e6:.1f} s  {row['num_frames']} frames",
            **{name: row[name] for name in ("pack_path", "byte_offset", "byte_size", "num_frames")},
        )
        for row in rows
    ]
    write_filmstrip(strips, path, lake_root=job.lake.root)
    say(f"clips: {len(strips)} clips of {dataset.name} are shown in {path}")
    return path
