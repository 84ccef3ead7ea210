"""How the stages of a lake grow: its finished runs by size, and what the laws of `curate --plan` expect of larger pools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import psutil

from curation.config import CurateConfig
from curation.planning import Cost
from evaluation.report import LEAST_VARIABLE_S, GrowthPoint, StageGrowth
from flows.stages.costs import FARTHEST, Formula, Sizes, rate_of_runs
from flows.stages.order import STAGES
from flows.stages.stage import Stage
from warehouse import queries
from warehouse.lake import Lake, LakeError
from warehouse.plan_sizes import FormerRun, finished_runs, pool_sizes, unique_share

__all__ = ["FORECAST_FRAMES", "FORECAST_IMAGES", "stage_growth"]

FORECAST_FRAMES, FORECAST_IMAGES = 120_000_000, 10_000_000
"""the candidates of a large archive, and the images chosen of them"""
_LARGER = (("32 cores", 32), ("1000 cores", 1000))
_POINTS = 20


def stage_growth(lake: Lake) -> tuple[StageGrowth, ...]:
    """Each stage that has run on this machine, with its runs and its forecast for `FORECAST_FRAMES`; empty if nothing is embedded.

    A forecast is made only from a run that tells a rate (`rate_of_runs`); without one, the stage's note says which run would be needed.
    """
    try:
        dim = queries.embedding_parts(lake, queries.encoder_named(lake, None))[0].dim
    except LakeError:
        return ()
    jpeg_bytes, num_cores = pool_sizes(lake).jpeg_bytes, len(os.sched_getaffinity(0))
    sizes = Sizes(config=CurateConfig(size=FORECAST_IMAGES), dim=dim, jpeg_bytes=jpeg_bytes, num_workers=num_cores)
    num_unique = round(FORECAST_FRAMES * unique_share(lake))
    targets = {"cluster": num_unique, "select": num_unique, "shard": FORECAST_IMAGES}
    runs = finished_runs(lake)
    grown = []
    for stage in STAGES:
        if stage.cost is None:  # of clips nothing is forecast
            continue
        if of_stage := [run for run in runs if run.stage == stage.name and stage.frames_of(run)]:
            grown.append(_growth(stage, stage.cost, of_stage, sizes, targets.get(stage.name, FORECAST_FRAMES)))
    return tuple(grown)


def _growth(stage: Stage, formula: Formula, runs: list[FormerRun], sizes: Sizes, target: int) -> StageGrowth:
    fixed_s, done = stage.fixed_s, [stage.frames_of(run) for run in runs]
    points = tuple(
        GrowthPoint(num_frames=num_frames, seconds=max(run.seconds, 1e-3), memory_bytes=run.peak_memory_bytes, fixed_s=fixed_s)
        for num_frames, run in zip(done, runs, strict=True)
    )
    if (rate := rate_of_runs(stage, runs, target, sizes)) is None:
        return StageGrowth(stage=stage.name, points=points, note=_missing(stage.name, points, target))
    sizes = replace(sizes, num_pictures=int(runs[-1].metrics.get("num_held_out_pictures", 0)))
    forecast = formula(target, sizes)

    def expected(num_frames: int) -> GrowthPoint:
        cost = formula(num_frames, sizes)
        return GrowthPoint(
            num_frames=num_frames, seconds=fixed_s + rate.seconds(cost, num_cores=sizes.num_workers), memory_bytes=cost.memory_bytes
        )

    return StageGrowth(
        stage=stage.name,
        points=points,
        line=tuple(map(expected, np.geomspace(min(*done, target), target, _POINTS).round().astype(int).tolist())),
        elsewhere=tuple((label, fixed_s + rate.seconds(forecast, num_cores=cores)) for label, cores in _LARGER),
        disk_bytes=forecast.kept_bytes + forecast.staged_bytes,
        note=_note(forecast, is_one_size=len(set(done)) == 1),
    )


def _missing(stage: str, points: Sequence[GrowthPoint], target: int) -> str:
    """Why there is no forecast, and which run would allow one."""
    longest = max(points, key=lambda point: point.variable_s)
    command = stage if stage in ("ingest", "embed") else "curate"
    return (
        f"no forecast: the longest run spent {max(longest.variable_s, 0):.1f} s beyond start-up, on {longest.num_frames:,} frames; "
        f"run `endoforge {command}` on at least {-(-target // FARTHEST):,} frames and {LEAST_VARIABLE_S:.0f} s of work"
    )


def _note(forecast: Cost, *, is_one_size: bool) -> str:
    said = ["one size only: the line is the model through it"] if is_one_size else []
    total = psutil.virtual_memory().total
    if forecast.memory_bytes > total:
        said.append(f"the forecast does not fit in this machine's {total / 1e9:.0f} GB")
    return "; ".join(said)
