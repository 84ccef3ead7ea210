"""How the stages of a lake grow: its finished runs by size, and what the cost model of `curate --plan` expects of larger pools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import psutil

from curation.config import CurateConfig
from curation.planning import STAGE_S, Cost, Rates, calibrate, corrected
from evaluation.report import LEAST_VARIABLE_S, GrowthPoint, StageGrowth
from flows.stages.costs import FARTHEST, Sizes, of_run, tells_rate
from flows.stages.order import STAGES
from flows.stages.stage import Stage
from warehouse import queries
from warehouse.lake import Lake, LakeError
from warehouse.plan_sizes import FormerRun, finished_runs, pool_sizes, unique_share

__all__ = ["FORECAST_FRAMES", "FORECAST_IMAGES", "stage_growth"]

FORECAST_FRAMES, FORECAST_IMAGES = 120_000_000, 10_000_000
"""the candidates of a large archive, and the images chosen of them"""
_ONE_MACHINE_CORES = 32
_LARGER = (("32 cores", 32), ("1000 cores", 1000))
_STEPS_A_DECADE = 4
_START_S = 2.0
"""Seconds until workers have started; assumed, not measured."""


def stage_growth(lake: Lake) -> tuple[StageGrowth, ...]:
    """Each stage that has run on this machine, with its runs and its forecast for `FORECAST_FRAMES`; empty if nothing is embedded.

    Expected times are those of the cost formulas, scaled to the stage's largest run; ingest, which has none, is taken as linear.
    A forecast is made only from a run that `tells_rate`; without one, the stage's note says which run would be needed.
    Calibrating takes about a second.
    """
    try:
        dim = queries.embedding_parts(lake, queries.encoder_named(lake, None))[0].dim
    except LakeError:
        return ()
    config = CurateConfig(size=FORECAST_IMAGES)
    num_workers = len(os.sched_getaffinity(0))
    rates = calibrate(
        num_workers=num_workers, start_s=_START_S, load_s=0.0, dim=dim, hash_radius=config.dedup.dedup_hash_radius, jpegs=(), encoder=None
    )
    sizes = Sizes(config=config, dim=dim, jpeg_bytes=pool_sizes(lake).jpeg_bytes, rates=rates)
    num_unique = round(FORECAST_FRAMES * (unique_share(lake) or 1.0))
    targets = {"cluster": num_unique, "select": num_unique, "shard": FORECAST_IMAGES}
    runs = finished_runs(lake)
    grown = []
    for stage in STAGES:
        if of_stage := [run for run in runs if run.stage == stage.name and stage.frames_of(run)]:
            grown.append(_growth(stage, of_stage, sizes, targets.get(stage.name, FORECAST_FRAMES)))
    return tuple(grown)


def _growth(stage: Stage, runs: list[FormerRun], sizes: Sizes, target: int) -> StageGrowth:
    fixed_s = STAGE_S + (_START_S if stage.has_workers else 0.0)
    points = tuple(
        GrowthPoint(num_frames=stage.frames_of(run), seconds=max(run.seconds, 1e-3), memory_bytes=run.peak_memory_bytes, fixed_s=fixed_s)
        for run in runs
    )
    telling = [run for run in runs if tells_rate(run, stage.frames_of(run), target, fixed_s=fixed_s)]
    if not telling:
        return StageGrowth(stage=stage.name, points=points, note=_missing(stage.name, points, target))
    largest = max(reversed(telling), key=stage.frames_of)  # of several the latest
    num_done = stage.frames_of(largest)
    rates = sizes.rates
    if stage.name == "embed":  # not calibrated here, for loading an encoder takes longer than all else
        rates = replace(rates, encode_s=(largest.seconds - fixed_s) * rates.num_workers / num_done)
    sizes = replace(sizes, rates=rates, num_pictures=int(largest.metrics.get("num_held_out_pictures", 0)))

    def expected(num_frames: int, machine: Rates) -> Cost:
        there = replace(sizes, rates=machine)
        if stage.cost is None:
            return _linear(largest, num_done, num_frames, fixed_s=fixed_s, sizes=there)
        cost, then = stage.cost(num_frames, sizes), of_run(stage.cost, largest, num_done, sizes)
        told, elsewhere = corrected(cost, former=then, took_s=largest.seconds), stage.cost(num_frames, there)
        return replace(elsewhere, seconds=told.seconds * elsewhere.seconds / cost.seconds)

    forecast = expected(target, rates)
    return StageGrowth(
        stage=stage.name,
        points=points,
        line=tuple(_point(num_frames, expected(num_frames, rates)) for num_frames in _steps(min(map(stage.frames_of, runs)), target)),
        elsewhere=tuple((label, expected(target, _with_cores(rates, cores)).seconds) for label, cores in _LARGER),
        disk_bytes=forecast.kept_bytes + forecast.staged_bytes,
        note=_note(stage.name, forecast, is_one_size=len({stage.frames_of(run) for run in runs}) == 1),
    )


def _linear(largest: FormerRun, num_done: int, num_frames: int, *, fixed_s: float, sizes: Sizes) -> Cost:
    """Videos one by one on all workers: beyond the fixed cost time in proportion, memory that of the workers."""
    each_s = (largest.seconds - fixed_s) / num_done * len(os.sched_getaffinity(0)) / sizes.rates.num_workers
    return Cost(
        items=num_frames,
        seconds=fixed_s + each_s * num_frames,
        memory_bytes=largest.peak_memory_bytes or 0,
        kept_bytes=round(num_frames * (sizes.jpeg_bytes + 1024)),
        fixed_s=fixed_s,
    )


def _with_cores(rates: Rates, num_cores: int) -> Rates:
    """The same cores, more of them: workers on all, this process on those of one machine of `_ONE_MACHINE_CORES`."""
    threads = min(num_cores, _ONE_MACHINE_CORES)
    return replace(rates, num_workers=num_cores, num_threads=threads, assign_flops=rates.assign_flops * threads / rates.num_workers)


def _steps(first: int, last: int) -> list[int]:
    """Numbers from the first to the last, by equal ratios."""
    steps, number = [], float(min(first, last))
    while number < last:
        steps.append(round(number))
        number *= 10 ** (1 / _STEPS_A_DECADE)
    return [*steps, last]


def _point(num_frames: int, cost: Cost) -> GrowthPoint:
    return GrowthPoint(num_frames=num_frames, seconds=cost.seconds, memory_bytes=cost.memory_bytes)


def _missing(stage: str, points: Sequence[GrowthPoint], target: int) -> str:
    """Why there is no forecast, and which run would allow one."""
    longest = max(points, key=lambda point: point.variable_s)
    command = stage if stage in ("ingest", "embed") else "curate"
    return (
        f"no forecast: the longest run spent {max(longest.variable_s, 0):.1f} s beyond start-up, on {longest.num_frames:,} frames; "
        f"run `endoforge {command}` on at least {-(-target // FARTHEST):,} frames and {LEAST_VARIABLE_S:.0f} s of work"
    )


def _note(stage: str, forecast: Cost, *, is_one_size: bool) -> str:
    said = []
    if is_one_size:
        said.append(
            "one size only: taken to be linear in frames" if stage == "ingest" else "one size only: the line is the model through it"
        )
    total = psutil.virtual_memory().total
    if forecast.memory_bytes > total:
        said.append(f"the forecast does not fit in this machine's {total / 1e9:.0f} GB")
    return "; ".join(said)
