"""What `curate` would cost on this machine, stage by stage, before any of it is done; nothing is written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import psutil

from curation.clustering import CLUSTER_VERSION, default_num_clusters
from curation.config import CurateConfig
from curation.embedding import EMBED_VERSION, EmbedConfig, load_encoder
from curation.planning import STAGE_S, Cost, Rates, calibrate, embed_cost, loaded, place_cost, started
from evaluation.report import LEAST_VARIABLE_S
from flows.job import Job
from flows.runners import successes
from flows.stages import (
    corrected_by,
    cost_of_run,
    dataset_name,
    placed,
    plan_cluster,
    plan_dedup,
    plan_holdout,
    plan_select,
    plan_shard,
    plan_similarity,
    shard_settings,
    stage_cost,
    tells_rate,
)
from warehouse import queries, trees
from warehouse.lake import LakeError
from warehouse.lineage import completed_run_id
from warehouse.plan_sizes import former_runs, num_not_in_tree, pool_sizes, sample_jpegs, unique_share
from warehouse.records import Artifact

__all__ = ["plan_curate"]

_UNKNOWN = Artifact(artifact_id="", kind="", uri="")
"""stands for what is not made yet, where only a plan's settings are looked at"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A row of the plan."""

    stage: str
    cost: Cost | None
    """None where nothing is to do"""
    source: str = ""
    """where its rate is from"""


def plan_curate(job: Job, *, name: str, encoder: str | None, config: CurateConfig) -> str:
    """The table of stages with items, time, memory and disk, and whether it fits this machine; kept results of former runs cost nothing.

    A stage after one that is to be done is to be done too. How many frames deduplication will leave is taken from the latest one of this
    lake, and without one none are expected to go.

    Raises:
        LakeError: there is no candidate.
    """
    lines = _lines(job, name=name, encoder=encoder, config=config)
    return "\n".join([*_table(lines), "", *_machine(job, lines)])


def _lines(job: Job, *, name: str, encoder: str | None, config: CurateConfig) -> list[_Line]:
    lake, seed = job.lake, config.seed
    pool = pool_sizes(lake)
    if not pool.num_candidates:
        raise LakeError(f"there is no kept frame in {lake.root}; run `endoforge ingest --lake {lake.root}` first")
    embedding = EmbedConfig(encoder=encoder) if encoder else EmbedConfig()
    try:
        encoder_id = queries.encoder_named(lake, encoder)
        embedding = EmbedConfig(encoder=queries.encoder_label(lake, encoder_id))
        parts = queries.embedding_parts(lake, encoder_id)
        dim = parts[0].dim
    except LakeError:  # nothing is embedded yet
        found = load_encoder(embedding)
        encoder_id, dim, parts = found.encoder_id, found.dim, ()
    to_embed = sum(pack.num_frames for pack in queries.packs_without_embeddings(lake, encoder_id, EMBED_VERSION))
    former = former_runs(lake, longer_than_s=LEAST_VARIABLE_S)
    held_out_plan, held_out = (
        plan_holdout(lake, encoder_id=encoder_id, config=config.holdout, seed=seed) if config.holdout.holdout else (None, None)
    )
    workers = getattr(job.runner, "num_workers", 1)
    start_s = _elapsed_s(job, started, workers)
    load_s = max(_elapsed_s(job, loaded, workers, encoder=embedding) - start_s, 0) if to_embed or held_out else 0.0
    embedded = former.get("embed")
    if embedded and (
        embedded.config.get("encoder_id") != encoder_id or not tells_rate(embedded, to_embed, fixed_s=STAGE_S + start_s + load_s)
    ):
        embedded = None
    rates = calibrate(
        num_workers=workers,
        start_s=start_s,
        load_s=load_s,
        dim=dim,
        hash_radius=config.dedup.dedup_hash_radius,
        jpegs=sample_jpegs(lake, 16),
        encoder=embedding if (to_embed or held_out) and not embedded else None,
    )
    if embedded:
        encoding_s = max(embedded.seconds - STAGE_S - start_s - load_s, 0)
        rates = replace(rates, encode_s=encoding_s * workers / max(1, embedded.metrics["num_frames"]))

    lines = [
        _Line(
            stage="embed",
            cost=embed_cost(to_embed, dim=dim, rates=rates) if to_embed else None,
            source="former run" if embedded else "calibration",
        )
    ]
    num_frames, is_done = pool.num_candidates, not to_embed

    def line(stage: str, num_frames: int, *, done: object, label: str = "", size: int = config.size, num_pictures: int = 0) -> _Line:
        if done:
            return _Line(stage=label or stage, cost=None)
        sizes: dict[str, Any] = {"dim": dim, "jpeg_bytes": pool.jpeg_bytes, "rates": rates}
        sized = replace(config, size=size, nested=())
        cost = stage_cost(stage, num_frames, config=sized, num_pictures=num_pictures, **sizes)
        assert cost is not None
        run = former.get(stage)
        took = cost_of_run(run, max_memory_gb=config.cluster.max_memory_gb, **sizes) if run else None
        if run and took and not tells_rate(run, num_frames, fixed_s=took.fixed_s):
            took = None
        return _Line(stage=label or stage, cost=corrected_by(run, cost, took), source="former run" if took else "calibration")

    holdout: Artifact | None = None
    if held_out_plan and held_out:
        holdout = job.done(held_out_plan, "holdout") if is_done else None
        is_done = holdout is not None
        lines.append(line("holdout", num_frames, done=is_done, num_pictures=len(held_out.files)))
        if holdout:
            num_frames -= holdout.num_rows or 0

    scores = (
        job.done(plan_similarity(lake, parts=parts, config=config.dedup, seed=seed, holdout=holdout), "similarity") if is_done else None
    )
    lines.append(line("similarity", num_frames, done=scores))

    dedup = job.done(plan_dedup(scores=scores, config=config.dedup, holdout=holdout), "dedup") if scores else None
    lines.append(line("dedup", num_frames, done=dedup))
    if dedup:
        num_unique = trees.num_unique(lake, dedup.artifact_id)
    else:
        share = unique_share(lake)
        num_unique = max(1, round(num_frames * (1.0 if share is None else share)))

    tree, placement, placing = _tree(job, encoder_id, dedup, num_unique, dim=dim, config=config, rates=rates)
    lines.append(placing or line("cluster", num_unique, done=tree))
    for size in (config.size, *sorted(config.nested, reverse=True)):
        selection = None
        if tree and dedup:
            plan = plan_select(lake, tree=tree, placement=placement, dedup=dedup, size=size, config=config.sample, seed=seed)
            selection = job.done(plan, "selection")
        lines.append(line("select", num_unique, done=selection, label=f"select {size}", size=size))
        num_images = int(selection.num_rows or 0) if selection else min(size, num_unique)
        is_written = False
        if selection:
            settings = shard_settings(dataset_name(name, size, config, selection), config.shard, seed)
            is_written = completed_run_id(lake, plan_shard(selection=selection, settings=settings, seed=seed)) is not None
        lines.append(line("shard", num_images, done=is_written, label=f"shard {size}"))
    return lines


def _elapsed_s(job: Job, function: Callable[..., int], num_workers: int, **shared: Any) -> float:
    start = time.perf_counter()
    list(successes(job.runner.map(function, range(num_workers), **shared), stage="plan"))
    return time.perf_counter() - start


def _tree(
    job: Job,
    encoder_id: str,
    dedup: Artifact | None,
    num_unique: int,
    *,
    dim: int,
    config: CurateConfig,
    rates: Rates,
) -> tuple[Artifact | None, Artifact | None, _Line | None]:
    """The tree and the placement that are there, and the line of placing new frames in a tree where that is to be done."""
    settings = config.cluster
    plan = plan_cluster(encoder_id=encoder_id, dedup=dedup or _UNKNOWN, config=settings, seed=config.seed)
    if dedup and (done := job.done(plan, "cluster_tree")):
        return done, None, None
    known = trees.latest_tree(job.lake, plan.config, CLUSTER_VERSION) if settings.refit != "always" else None
    if known:
        placement = placed(job, tree=known, dedup=dedup, config=settings) if dedup else None
        if placement:
            return known.artifact, placement, None
        num_before = known.artifact.num_rows or 1
        if settings.refit == "never" or 1 / settings.max_growth <= num_unique / num_before <= settings.max_growth:
            num_new = num_not_in_tree(job.lake, dedup.artifact_id, known.artifact.artifact_id) if dedup else abs(num_unique - num_before)
            finest = (settings.num_clusters or default_num_clusters(num_before))[0]
            cost = place_cost(num_new, dim=dim, finest=finest, max_memory_gb=settings.max_memory_gb, rates=rates)
            return None, None, _Line(stage="cluster (place)", cost=cost, source="calibration")
    return None, None, None


def _table(lines: list[_Line]) -> list[str]:
    rows = [("stage", "items", "time", "peak memory", "disk", "rate from")]
    for line in lines:
        if line.cost is None:
            rows.append((line.stage, "", "done", "", "", ""))
        else:
            cost = line.cost
            rows.append(
                (
                    line.stage,
                    f"{cost.items:,}",
                    _duration(cost.seconds),
                    _bytes(cost.memory_bytes),
                    _bytes(cost.kept_bytes + cost.staged_bytes),
                    line.source,
                )
            )
    seconds, memory, disk = _together(lines)
    if seconds:
        rows.append(("together", "", _duration(seconds), _bytes(memory), _bytes(disk), ""))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(row[column].rjust(widths[column]) for column in range(1, 5)), row[5]]).rstrip()
        for row in rows
    ]


def _machine(job: Job, lines: list[_Line]) -> list[str]:
    _, memory, disk = _together(lines)
    free_memory, free_disk = psutil.virtual_memory().available, shutil.disk_usage(job.lake.root).free
    said = [f"free now: {_bytes(free_memory)} of memory, {_bytes(free_disk)} of disk at {job.lake.root}"]
    if memory > free_memory:
        said.append("WARNING: it does not fit in the free memory; lower --max-memory-gb or --workers, or free some")
    if disk > free_disk:
        said.append("WARNING: it does not fit on the disk; free some, or put the lake elsewhere")
    if lines[0].cost:
        said.append("embed is a command of its own: type `endoforge embed` before `endoforge curate`")
    return said


def _together(lines: list[_Line]) -> tuple[float, int, int]:
    """Seconds, memory and disk of all stages one after the other: what is staged goes before the next stage."""
    costs = [line.cost for line in lines if line.cost]
    kept = sum(cost.kept_bytes for cost in costs)
    memory = max((cost.memory_bytes for cost in costs), default=0)
    return sum(cost.seconds for cost in costs), memory, kept + max((cost.staged_bytes for cost in costs), default=0)


def _duration(seconds: float) -> str:
    if seconds < 5:
        return "under 5 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
