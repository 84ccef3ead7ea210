"""What `run` would take for an archive that nobody has ingested, stage by stage, on this machine and on one that is described."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from curation.embedding import load_encoder
from curation.planning import Archive, Cost, Estimate, Rate, Unit, combined, unit_rate
from flows.config import RunConfig
from flows.parameters import changed_recipe
from flows.planning.machines import Machine
from flows.planning.pretrain_plan import recorded_speeds
from flows.stages import STAGES, Sizes, Stage, rate_of_runs, read_held_out
from pretrain.config import PretrainConfig
from pretrain.flops import flops_of_sample
from pretrain.plan import RecordedSpeed, count_parameters, memory_parts, plan_pretraining, student_sizes
from warehouse.lake import Lake
from warehouse.plan_sizes import FormerRun, finished_runs, unique_share

if TYPE_CHECKING:
    from pretrain.model import Network
    from pretrain.video.network import VideoNetwork

__all__ = ["Former", "StageForecast", "forecast", "former_of", "measured_rates"]

_ENCODE_S = 0.0126
"""Seconds of a core to embed a frame: 38,100 in 4 minutes of two cores (docs/benchmarks.md)."""
_LOAD_S = 8.0
"""Seconds in which workers load torch and the encoder."""
_ROW_BYTES = 1600
"""On disk beside a sampled frame's picture: its row, its preview and its place in the catalog."""
_FACTORS = {"run": 1.3, "frame": 1.5, "operation": 3.0, "assumed": 3.0}
"""How far a rate may be off: of a recorded run, of embedding and of distances timed here (docs/benchmarks.md), and one that is assumed."""
_CPU_STEPS = ((0.074e9, 6e9), (132e9, 43e9))
"""Operations an image, and operations a second of a core, of the recipe demo and of a step of ViT-S/14 (docs/benchmarks.md)."""
_GPU_FACTOR, _CPU_FACTOR = 1.5, 2.0
_LIKE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class StageForecast:
    """One stage on one machine."""

    stage: str
    items: int
    of: str
    """what its items are"""
    seconds: Estimate
    """with where the rate is from"""
    memory_bytes: int
    """upper bound of all processes together; of each GPU for pretraining on GPUs"""
    kept_bytes: int
    staged_bytes: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What a lake knows from before."""

    runs: tuple[FormerRun, ...] = ()
    speeds: tuple[RecordedSpeed, ...] = ()
    unique_share: float = 1.0


RateOf = Callable[[Unit], Rate]


def former_of(lake: Lake) -> Former:
    """Ask a lake."""
    return Former(runs=finished_runs(lake), speeds=recorded_speeds(lake), unique_share=unique_share(lake))


def measured_rates(config: RunConfig, archive: Archive) -> tuple[int, RateOf]:
    """The encoder's dimensions, and rates of this machine, each timed once when it is asked for."""
    dim = load_encoder(config.embed).dim

    @cache
    def rate(unit: Unit) -> Rate:
        if unit == "frame" and not archive.jpegs:
            return Rate(unit_s=_ENCODE_S, source="assumed: docs/benchmarks.md")
        return unit_rate(unit, dim=dim, encoder=config.embed, jpegs=archive.jpegs)

    return dim, rate


def forecast(config: RunConfig, archive: Archive, machine: Machine, *, dim: int, rate_of: RateOf, former: Former) -> list[StageForecast]:
    """The stages of `run` in their order, without validation and evaluation.

    Args:
        config: of the run.
        archive: what its inputs hold.
        machine: that does it.
        dim: length of the encoder's vectors.
        rate_of: rates of this machine's cores, which are taken for those of another.
        former: what a lake knows.
    """
    held_out = read_held_out(config.holdout) if config.holdout.holdout else None
    sizes = Sizes(
        config=config.curate,
        dim=dim,
        jpeg_bytes=archive.jpeg_bytes,
        num_workers=machine.cores,
        num_pictures=len(held_out.files) if held_out else 0,
    )
    num_kept, num_unique = round(archive.kept.value), max(1, round(archive.kept.value * former.unique_share))
    num_images = min(config.size or num_unique, num_unique)
    numbers = {"cluster": num_unique, "select": num_unique, "shard": num_images}
    lines = []
    for stage in STAGES:
        if stage.cost is None or not stage.is_wanted(config):
            continue
        num_frames = numbers.get(stage.name, num_kept)
        rate = rate_of_runs(stage, former.runs, num_frames, sizes)
        if stage.name == "ingest":
            lines.append(_ingest(stage, archive, sizes, rate))
            continue
        cost = stage.cost(num_frames, sizes)
        rate = rate or rate_of(cost.unit)
        count = 1.0 if stage.name == "shard" and num_images < num_unique else archive.kept.factor
        lines.append(_stage(stage, cost, rate, sizes, count))
    return [*lines, _pretrain(config, machine, former.speeds)]


def _ingest(stage: Stage, archive: Archive, sizes: Sizes, rate: Rate | None) -> StageForecast:
    """By a recorded run if there is one, else by what was ingested just now; a video is decoded by one core."""
    assert stage.cost is not None
    cost = stage.cost(round(archive.kept.value), sizes)
    if rate:
        seconds = Estimate(
            value=stage.fixed_s + rate.seconds(cost, num_cores=sizes.num_workers),
            factor=combined(archive.kept.factor, _FACTORS["run"]),
            source=rate.source,
        )
    else:
        cores = max(1, min(sizes.num_workers, archive.num_videos))
        told = archive.core_s
        seconds = Estimate(value=stage.fixed_s + told.value / cores, factor=told.factor, source=told.source)
    kept = round(archive.sampled.value * (archive.stored_bytes + _ROW_BYTES))
    return StageForecast(
        stage="ingest", items=archive.num_videos, of="videos", seconds=seconds, memory_bytes=cost.memory_bytes, kept_bytes=kept
    )


def _stage(stage: Stage, cost: Cost, rate: Rate, sizes: Sizes, count_factor: float) -> StageForecast:
    loading_s = _LOAD_S if stage.name == "embed" else 0.0
    source = "run" if rate.source.startswith("run") else "assumed" if rate.source.startswith("assumed") else cost.unit
    seconds = Estimate(
        value=stage.fixed_s + loading_s + rate.seconds(cost, num_cores=sizes.num_workers),
        factor=combined(count_factor, _FACTORS[source]),
        source=rate.source,
    )
    of = {"holdout": "pictures", "shard": "images"}.get(stage.name, "frames")
    return StageForecast(
        stage=stage.name,
        items=cost.items,
        of=of,
        seconds=seconds,
        memory_bytes=cost.memory_bytes,
        kept_bytes=cost.kept_bytes,
        staged_bytes=cost.staged_bytes,
    )


def _pretrain(config: RunConfig, machine: Machine, speeds: Sequence[RecordedSpeed]) -> StageForecast:
    training = changed_recipe(config.recipe, config.pretrain, None)
    num_images = training.train.num_steps * training.train.batch_size
    network = student_sizes(training)
    kept = _checkpoints(training, network)
    if machine.card:
        plan = plan_pretraining(training, machine.card, num_gpus=machine.num_gpus, recorded=speeds)
        memory = sum(plan.memory.values())
        note = (
            ""
            if memory <= machine.card.memory_gb * 1e9
            else f"does not fit in {machine.card.memory_gb} GB: see `endoforge pretrain --plan`"
        )
        seconds = Estimate(value=plan.hours * 3600, factor=_GPU_FACTOR, source=plan.speed.source)
        return StageForecast(
            stage="pretrain", items=num_images, of="images", seconds=seconds, memory_bytes=memory, kept_bytes=kept, note=note
        )
    flops = flops_of_sample(training, network)
    rate, factor, source = _on_cores(flops, machine.cores, speeds)
    seconds = Estimate(value=num_images / rate, factor=factor, source=source)
    memory = sum(memory_parts(replace(training, train=replace(training.train, precision="fp32")), network, num_gpus=1).values())
    return StageForecast(stage="pretrain", items=num_images, of="images", seconds=seconds, memory_bytes=memory, kept_bytes=kept)


def _on_cores(flops: float, cores: int, speeds: Sequence[RecordedSpeed]) -> tuple[float, float, str]:
    """Images a second without a GPU, how far that may be off, and where it is from: the fastest like run, for others' work only slows."""
    rates = []
    for run in speeds:
        theirs = flops_of_sample(run.config, student_sizes(run.config))
        if run.device == "cpu" and abs(theirs / flops - 1) <= _LIKE:
            rates.append((run.images_per_s * theirs / flops, run.run_id))
    if rates:
        rate, run_id = max(rates)
        return rate, _FACTORS["run"], f"recorded by {run_id}, on all its cores"
    (small, slow), (large, fast) = _CPU_STEPS
    place = min(1.0, max(0.0, math.log(flops / small) / math.log(large / small)))
    of_core = slow * (fast / slow) ** place
    return cores * of_core / flops, _CPU_FACTOR, f"assumed: {of_core / 1e9:.0f} GFLOP a second of a core, docs/benchmarks.md"


def _checkpoints(config: PretrainConfig, network: Network | VideoNetwork) -> int:
    """Bytes of those that stay: student, teacher and AdamW's two moments in fp32 each."""
    return (config.checkpoint.keep_best + 1) * 16 * count_parameters(network).total
