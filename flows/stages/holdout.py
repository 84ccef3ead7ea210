"""Stage run: what is held out, to the candidates that must not be learned from."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

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
from flows.config import RunConfig
from flows.job import Job
from flows.runners import say, successes, track
from flows.stages.encoder_resources import encoder_device, encoder_resources
from flows.stages.stage import Made
from warehouse import holdout as lake_side, queries
from warehouse.lake import Lake
from warehouse.lineage import RunPlan, RunRecorder, plan_run
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


def plan_holdout(lake: Lake, config: RunConfig, made: Made) -> RunPlan:
    """Name the search for what is held out."""
    held_out = made.held_out
    assert held_out is not None  # whoever walks the stages has read it, once
    listed = Artifact(
        artifact_id=held_out.list_id, kind="holdout_list", uri=held_out.label, sha256=held_out.list_id, num_rows=len(held_out.files)
    )
    settings = {
        **{name: value for name, value in asdict(config.holdout).items() if name != "holdout"},
        "seed": config.seed,
        "encoder_id": made.encoder_id,
        "embed_version": EMBED_VERSION,
        "candidates": queries.candidates_state(lake, made.encoder_id),
        "videos": lake_side.known_videos_state(lake),
    }
    inputs = [listed, *effective_requalification(lake)]
    return plan_run(stage="holdout", version=HOLDOUT_VERSION, config=settings, inputs=inputs, seed=config.seed)


def run_holdout(job: Job, run: RunRecorder, work: Path, config: RunConfig, made: Made) -> Artifact:
    """Find the candidates that are held out; parts that a killed run has finished are not done again.

    Raises:
        HoldoutError: a path names nothing, or none of its pictures and videos can be read.
    """
    held_out, encoder_id = made.held_out, made.encoder_id
    assert held_out is not None
    encoder = EmbedConfig(encoder=queries.encoder_label(job.lake, encoder_id), device="cpu")
    if held_out.files and load_encoder(encoder).encoder_id != encoder_id:
        raise HoldoutError(
            f"the frames were embedded by another {encoder.encoder!r} than is here (weights or image size differ), and what is held out "
            "must be embedded by the same; run `endoforge embed` with the one that is here, then curate again"
        )
    for name in ("pool", "scratch"):
        shutil.rmtree(work / name, ignore_errors=True)
    batches = batches_of(held_out.files)
    resources = encoder_resources(job.runner, "auto")
    there = replace(encoder, device=encoder_device(resources))
    prepared = job.runner.map(prepare_views, batches, resources=resources, work=str(work), encoder=there, seed=config.seed)
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
        similarity = config.holdout.holdout_similarity or retrieval_similarity([probe for part in views for probe in part.probes])
        pool = [str(path) for path in lake_side.export_pool(job.lake, encoder_id, work / "pool", frames_per_part=FRAMES_PER_PART)]
        shared: dict[str, Any] = {"lake_root": str(job.lake.root), "work": str(work), "views": views, "config": config.holdout}
        found = job.runner.map(find_copies, pool, min_similarity=similarity, **shared)
        parts = list(track(successes(found, stage="holdout"), description="compare frames", total=len(pool)))
        num_compared = sum(part.num_compared for part in parts)
        copies = read_copies([work / part.path for part in parts])
    reasons = reasons_by_video(videos, named_videos(videos, held_out), copies, config.holdout.holdout_scope)
    lake_side.export_frames_of(job.lake, encoder_id, sorted(reasons), work / "frames.parquet")
    holdout_id, by_kind = settle_holdout(work / "frames.parquet", reasons, copies, out=work / "holdout.parquet")
    run.named_rows("holdout", "holdout_id", holdout_id, work / "holdout.parquet")
    run.metrics.update(
        num_held_out_pictures=num_pictures,
        num_unreadable=len(failures),
        min_similarity=similarity,
        num_compared=num_compared,
        num_copies=len(copies),
        num_excluded=sum(by_kind.values()),
        **{f"num_{kind}": count for kind, count in by_kind.items()},
    )
    _report(num_pictures, len(copies), len(reasons), by_kind, failures)
    return Artifact(artifact_id=holdout_id, kind="holdout", uri="tables/main/holdout", num_rows=sum(by_kind.values()))


def _report(num_pictures: int, num_copies: int, num_videos: int, by_kind: dict[str, int], failures: dict[str, str]) -> None:
    kinds = ", ".join(f"{count} by {kind}" for kind, count in sorted(by_kind.items())) or "none"
    say(
        f"holdout: {num_pictures} pictures held out; {num_copies} frames are copies of them; {sum(by_kind.values())} frames left out "
        f"({kinds}), {num_videos} videos altogether; the view holdout_matches lists them"
    )
    if failures:
        name, reason = next(iter(failures.items()))
        say(f"holdout: {len(failures)} held-out files could not be compared, such as {name}: {reason}")
