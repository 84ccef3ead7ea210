"""Stage run: what is held out, to the candidates that must not be learned from."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace

from curation.embedding import EMBED_VERSION, EmbedConfig, load_encoder
from curation.holdout import (
    HOLDOUT_VERSION,
    HoldoutConfig,
    HoldoutError,
    HoldoutList,
    KnownVideo,
    batches_of,
    find_copies,
    named_videos,
    prepare_views,
    read_copies,
    read_holdout,
    reasons_by_video,
    retrieval_similarity,
    settle_holdout,
)
from curation.sources import patient_key
from flows.job import Job
from flows.runners import say, successes, track
from flows.stages.encoder_resources import encoder_device, encoder_resources
from warehouse import holdout as lake_side, queries
from warehouse.lake import Lake
from warehouse.lineage import RunPlan, plan_run
from warehouse.records import Artifact
from warehouse.requalification import effective_requalification

__all__ = ["plan_holdout", "read_held_out", "run_holdout"]

FRAMES_PER_PART = 20_000


def read_held_out(config: HoldoutConfig) -> HoldoutList:
    """What is held out, of which every file is read for that.

    Raises:
        HoldoutError: a path names nothing.
    """
    return read_holdout(config.holdout, patient_key())


def plan_holdout(lake: Lake, held_out: HoldoutList, *, encoder_id: str, config: HoldoutConfig, seed: int) -> RunPlan:
    """Name the search for what is held out."""
    listed = Artifact(
        artifact_id=held_out.list_id, kind="holdout_list", uri=held_out.label, sha256=held_out.list_id, num_rows=len(held_out.files)
    )
    settings = {
        **{name: value for name, value in asdict(config).items() if name != "holdout"},
        "seed": seed,
        "encoder_id": encoder_id,
        "embed_version": EMBED_VERSION,
        "candidates": queries.candidates_state(lake, encoder_id),
        "videos": lake_side.known_videos_state(lake),
    }
    inputs = [listed, *effective_requalification(lake)]
    return plan_run(stage="holdout", version=HOLDOUT_VERSION, config=settings, inputs=inputs, seed=seed)


def run_holdout(job: Job, *, encoder_id: str, config: HoldoutConfig, seed: int) -> Artifact:
    """Find the candidates that are held out.

    Raises:
        HoldoutError: a path names nothing, or none of its pictures and videos can be read.
    """
    held_out = read_held_out(config)
    plan = plan_holdout(job.lake, held_out, encoder_id=encoder_id, config=config, seed=seed)
    if done := job.done(plan, "holdout"):
        return done
    encoder = EmbedConfig(encoder=lake_side.encoder_name(job.lake, encoder_id), device="cpu")
    if held_out.files and load_encoder(encoder).encoder_id != encoder_id:
        raise HoldoutError(
            f"the frames were embedded by another {encoder.encoder!r} than is here (weights or image size differ), and what is held out "
            "must be embedded by the same; run `endoforge embed` with the one that is here, then curate again"
        )
    work = job.lake.root / "staging" / "holdout" / plan.run_id
    work.mkdir(parents=True, exist_ok=True)  # with what a killed run left: its finished parts are not done again
    for name in ("pool", "scratch"):
        shutil.rmtree(work / name, ignore_errors=True)
    with job.record(plan) as run:
        batches = batches_of(held_out.files)
        resources = encoder_resources(job.runner, "auto")
        there = replace(encoder, device=encoder_device(resources))
        prepared = job.runner.map(prepare_views, batches, resources=resources, work=str(work), encoder=there, seed=seed)
        views = tuple(track(successes(prepared, stage="holdout"), description="held-out pictures", total=len(batches)))
        failures = {name: reason for part in views for name, reason in part.failures.items()}
        failures |= dict.fromkeys(held_out.unreadable, "not there, or not readable")
        num_pictures = sum(part.num_pictures for part in views)
        if failures and not (num_pictures or held_out.video_names or held_out.patients):
            name, reason = next(iter(failures.items()))
            raise HoldoutError(f"none of {len(failures)} held-out files can be read, such as {name!r}: {reason}; mend them or the paths")
        videos = [
            KnownVideo(**{**row, "uris": tuple(row["uris"]), "patient_ids": frozenset(row["patient_ids"])})
            for row in lake_side.known_videos(job.lake)
        ]
        copies, num_compared, similarity = [], 0, 0.0
        if num_pictures:
            similarity = config.holdout_similarity or retrieval_similarity([probe for part in views for probe in part.probes])
            pool = [str(path) for path in lake_side.export_pool(job.lake, encoder_id, work / "pool", frames_per_part=FRAMES_PER_PART)]
            found = job.runner.map(
                find_copies, pool, lake_root=str(job.lake.root), work=str(work), views=views, min_similarity=similarity, config=config
            )
            parts = list(track(successes(found, stage="holdout"), description="compare frames", total=len(pool)))
            num_compared = sum(part.num_compared for part in parts)
            copies = read_copies([work / part.path for part in parts])
        reasons = reasons_by_video(videos, named_videos(videos, held_out), copies, config.holdout_scope)
        lake_side.export_frames_of(job.lake, encoder_id, sorted(reasons), work / "frames.parquet")
        holdout_id, by_kind = settle_holdout(work / "frames.parquet", reasons, copies, out=work / "holdout.parquet")
        artifact = Artifact(artifact_id=holdout_id, kind="holdout", uri="tables/main/holdout", num_rows=sum(by_kind.values()))
        if not queries.is_recorded(job.lake, "holdout", "holdout_id", holdout_id):
            run.parts("holdout", [work / "holdout.parquet"])
        run.output(artifact)
        run.metrics.update(
            num_held_out_pictures=num_pictures,
            num_unreadable=len(failures),
            min_similarity=similarity,
            num_compared=num_compared,
            num_copies=len(copies),
            num_excluded=sum(by_kind.values()),
            **{f"num_{kind}": count for kind, count in by_kind.items()},
        )
    shutil.rmtree(work)
    _report(num_pictures, len(copies), len(reasons), by_kind, failures)
    return artifact


def _report(num_pictures: int, num_copies: int, num_videos: int, by_kind: dict[str, int], failures: dict[str, str]) -> None:
    kinds = ", ".join(f"{count} by {kind}" for kind, count in sorted(by_kind.items())) or "none"
    say(
        f"holdout: {num_pictures} pictures held out; {num_copies} frames are copies of them; {sum(by_kind.values())} frames left out "
        f"({kinds}), {num_videos} videos altogether; the view holdout_matches lists them"
    )
    if failures:
        name, reason = next(iter(failures.items()))
        say(f"holdout: {len(failures)} held-out files could not be compared, such as {name}: {reason}")
