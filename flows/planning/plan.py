"""What `curate` would cost on this machine, stage by stage, before any of it is done; nothing is written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import psutil

from curation.config import CurateConfig
from curation.embedding import EMBED_VERSION, EmbedConfig, load_encoder
from curation.planning import STAGE_S, Cost, calibrate, corrected, loaded, place_cost, started
from evaluation.report import LEAST_VARIABLE_S
from flows.config import RunConfig
from flows.job import Job
from flows.runners import successes
from flows.stages import (
    STAGES,
    Made,
    Sizes,
    Stage,
    frames_to_place,
    of_run,
    read_held_out,
    stages_of,
    steps,
    tells_rate,
)
from warehouse import queries, trees
from warehouse.lake import Lake, LakeError
from warehouse.plan_sizes import FormerRun, former_runs, pool_sizes, sample_jpegs, unique_share

__all__ = ["plan_curate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A row of the plan."""

    stage: str
    cost: Cost | None
    """None if nothing is to do"""
    source: str = ""
    """where its rate is from"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    """The encoder whose vectors are curated."""

    config: EmbedConfig
    encoder_id: str
    dim: int
    num_to_embed: int
    """frames without a vector"""


def plan_curate(job: Job, *, name: str, encoder: str | None, config: CurateConfig) -> str:
    """The table of stages with items, time, memory and disk, and whether it fits this machine; kept results of former runs cost nothing.

    A stage after one that is to be done is to be done too. How many frames deduplication will leave is taken from the latest one of this
    lake, and without one none are expected to go.

    Raises:
        LakeError: there is no candidate.
    """
    lines = _lines(job, RunConfig.of_curation(job.lake.root, name, config), _encoder(job.lake, encoder))
    return "\n".join([*_table(lines), "", *_machine(job, lines)])


def _encoder(lake: Lake, named: str | None) -> _Encoder:
    if not pool_sizes(lake).num_candidates:
        raise LakeError(f"there is no kept frame in {lake.root}; run `endoforge ingest --lake {lake.root}` first")
    config = EmbedConfig(encoder=named) if named else EmbedConfig()
    try:
        encoder_id = queries.encoder_named(lake, named)
        config = EmbedConfig(encoder=queries.encoder_label(lake, encoder_id))
        dim = queries.embedding_parts(lake, encoder_id)[0].dim
    except LakeError:  # nothing is embedded yet
        found = load_encoder(config)
        encoder_id, dim = found.encoder_id, found.dim
    num_to_embed = sum(pack.num_frames for pack in queries.packs_without_embeddings(lake, encoder_id, EMBED_VERSION))
    return _Encoder(config=config, encoder_id=encoder_id, dim=dim, num_to_embed=num_to_embed)


def _lines(job: Job, config: RunConfig, encoder: _Encoder) -> list[_Line]:
    """Go through the stages as curation does; where one is not done, estimate what it and those that need it will cost."""
    held_out = read_held_out(config.holdout) if config.holdout.holdout else None
    sizes, former = _measured(job, config, encoder)
    sizes = replace(sizes, num_pictures=len(held_out.files) if held_out else 0)
    (embed,) = stages_of("embed")
    is_done = {stage.name: True for stage in STAGES} | {"embed": not encoder.num_to_embed}
    lines = [_line(embed, encoder.num_to_embed, sizes, former) if encoder.num_to_embed else _Line(stage="embed", cost=None)]
    parts = () if encoder.num_to_embed else queries.embedding_parts(job.lake, encoder.encoder_id)
    made = Made(encoder_id=encoder.encoder_id, parts=parts, held_out=held_out)
    num_frames = pool_sizes(job.lake).num_candidates
    for stage, of_size in steps(stages_of("curate"), config):
        found = stage.find(job, of_size, made) if stage.find and all(is_done[needed] for needed in stage.needs) else None
        is_done[stage.name] = found is not None
        made = found or made
        if found:
            line = _Line(stage=stage.name, cost=None)
        else:
            placing = _placing(job, config, made, num_frames, sizes) if stage.name == "cluster" else None
            num_items = _num_images(num_frames, of_size, made, is_done) if stage.name == "shard" else num_frames
            line = placing or _line(stage, num_items, replace(sizes, config=of_size.curate), former)
        lines.append(replace(line, stage=f"{stage.name} {of_size.size}") if stage.each_size else line)
        num_frames = _num_left(job.lake, stage, num_frames, found)
    return lines


def _measured(job: Job, config: RunConfig, encoder: _Encoder) -> tuple[Sizes, dict[str, FormerRun]]:
    """What costs depend on, with the rates of this machine, and the latest telling run of each stage."""
    workers = getattr(job.runner, "num_workers", 1)
    start_s = _elapsed_s(job, started, workers)
    encodes = bool(encoder.num_to_embed or config.holdout.holdout)
    load_s = max(_elapsed_s(job, loaded, workers, encoder=encoder.config) - start_s, 0) if encodes else 0.0
    former = former_runs(job.lake, longer_than_s=LEAST_VARIABLE_S)
    embedded, fixed_s = former.pop("embed", None), STAGE_S + start_s + load_s
    num_embedded = int(embedded.metrics.get("num_frames", 0)) if embedded else 0
    if embedded and (
        embedded.config.get("encoder_id") != encoder.encoder_id
        or not tells_rate(embedded, num_embedded, encoder.num_to_embed, fixed_s=fixed_s)
    ):
        embedded = None
    rates = calibrate(
        num_workers=workers,
        start_s=start_s,
        load_s=load_s,
        dim=encoder.dim,
        hash_radius=config.dedup.dedup_hash_radius,
        jpegs=sample_jpegs(job.lake, 16),
        encoder=encoder.config if encodes and not embedded else None,
    )
    if embedded:
        former["embed"] = embedded
        rates = replace(rates, encode_s=max(embedded.seconds - fixed_s, 0) * workers / max(1, num_embedded))
    jpeg_bytes = pool_sizes(job.lake).jpeg_bytes
    return Sizes(config=config.curate, dim=encoder.dim, jpeg_bytes=jpeg_bytes, rates=rates), former


def _line(stage: Stage, num_frames: int, sizes: Sizes, former: dict[str, FormerRun]) -> _Line:
    """A stage's cost by its formula, corrected by its former run if that tells enough."""
    assert stage.cost is not None
    cost = stage.cost(num_frames, sizes)
    if (run := former.get(stage.name)) and (num_done := stage.frames_of(run)):
        then = of_run(stage.cost, run, num_done, sizes)
        if tells_rate(run, num_done, num_frames, fixed_s=then.fixed_s):
            return _Line(stage=stage.name, cost=corrected(cost, former=then, took_s=run.seconds), source="former run")
    return _Line(stage=stage.name, cost=cost, source="calibration")


def _placing(job: Job, config: RunConfig, made: Made, num_unique: int, sizes: Sizes) -> _Line | None:
    """The line of clustering if it only assigns new frames to a tree that is there."""
    settings = config.cluster
    new = frames_to_place(job, encoder_id=made.encoder_id, dedup=made.dedup, num_unique=num_unique, config=settings, seed=config.seed)
    if new is None:
        return None
    num_new, finest = new
    cost = place_cost(num_new, dim=sizes.dim, finest=finest, max_memory_gb=settings.max_memory_gb, rates=sizes.rates)
    return _Line(stage="cluster (place)", cost=cost, source="calibration")


def _num_images(num_frames: int, config: RunConfig, made: Made, is_done: dict[str, bool]) -> int:
    """How many images a dataset has, or will have."""
    if is_done["select"] and made.selection:
        return made.selection.num_rows or 0
    return min(config.curate.size, num_frames)


def _num_left(lake: Lake, stage: Stage, num_frames: int, found: Made | None) -> int:
    """How many frames a stage leaves for the next, or will leave."""
    if stage.name == "holdout" and found and found.holdout:
        return num_frames - (found.holdout.num_rows or 0)
    if stage.name == "dedup":
        if found and found.dedup:
            return trees.num_unique(lake, found.dedup.artifact_id)
        share = unique_share(lake)
        return max(1, round(num_frames * (1.0 if share is None else share)))
    return num_frames


def _elapsed_s(job: Job, function: Callable[..., int], num_workers: int, **shared: Any) -> float:
    start = time.perf_counter()
    list(successes(job.runner.map(function, range(num_workers), **shared), stage="plan"))
    return time.perf_counter() - start


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
