"""What each stage costs by its settings, and how a run that has been done corrects that for other numbers of frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import curation.dedup
import evaluation.report
from curation import planning
from curation.config import CurateConfig

if TYPE_CHECKING:
    from curation.planning import Cost, Rates
    from warehouse.plan_sizes import FormerRun

__all__ = ["FARTHEST", "Formula", "Sizes", "of_run", "tells_rate"]

FARTHEST = 1000
"""How many times as many frames as it worked on a run may be scaled to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What the cost of a stage depends on, beside the number of frames."""

    config: CurateConfig
    dim: int
    """of the vectors"""
    jpeg_bytes: float
    """mean of a candidate's JPEG"""
    rates: Rates
    """of the machine"""
    num_pictures: int = 0
    """held out"""
    num_pairs: int | None = None
    """that similarity compares, if that is known"""


Formula = Callable[[int, Sizes], "Cost"]
"""Number of frames that a stage works on (images, for shard) to its cost."""


def embed(num_frames: int, sizes: Sizes) -> Cost:
    """Cost of embedding."""
    return planning.embed_cost(num_frames, dim=sizes.dim, rates=sizes.rates)


def holdout(num_frames: int, sizes: Sizes) -> Cost:
    """Cost of the hold-out search."""
    return planning.holdout_cost(sizes.num_pictures, num_frames, dim=sizes.dim, rates=sizes.rates)


def similarity(num_frames: int, sizes: Sizes) -> Cost:
    """Cost of the search for near-duplicates."""
    config = sizes.config.dedup
    return planning.search_cost(
        num_frames,
        dim=sizes.dim,
        num_clusters=config.num_dedup_clusters,
        num_tables=len(curation.dedup.hash_tables(config.dedup_hash_radius)),
        num_pairs=sizes.num_pairs,
        rates=sizes.rates,
    )


def dedup(num_frames: int, sizes: Sizes) -> Cost:
    """Cost of deciding which frames are duplicates."""
    return planning.dedup_cost(num_frames, rates=sizes.rates)


def cluster(num_frames: int, sizes: Sizes) -> Cost:
    """Cost of a new tree of clusters."""
    config = sizes.config.cluster
    return planning.cluster_cost(
        num_frames,
        dim=sizes.dim,
        num_clusters=config.num_clusters,
        num_resamples=config.num_resamples,
        resample_sizes=config.resample_sizes,
        max_iterations=config.max_iterations,
        max_memory_gb=config.max_memory_gb,
        rates=sizes.rates,
    )


def select(num_frames: int, sizes: Sizes) -> Cost:
    """Cost of a selection."""
    spread_dim = sizes.dim if sizes.config.sample.within_leaf == "diverse" else 0
    return planning.select_cost(num_frames, size=sizes.config.size, rates=sizes.rates, spread_dim=spread_dim)


def shard(num_images: int, sizes: Sizes) -> Cost:
    """Cost of the tars."""
    return planning.shard_cost(num_images, jpeg_bytes=sizes.jpeg_bytes, rates=sizes.rates)


def of_run(formula: Formula, run: FormerRun, num_frames: int, sizes: Sizes) -> Cost:
    """What a formula gives for the settings of a run that worked on `num_frames`, with the numbers that the run chose itself."""
    metrics, config = run.metrics, CurateConfig(size=max(1, int(run.metrics.get("num_selected", 1))))
    if run.stage == "similarity":
        num_clusters, radius = int(metrics["num_clusters"]), int(run.config["hash_radius"])
        searched = replace(config.dedup, num_dedup_clusters=num_clusters, dedup_hash_radius=radius, dedup_hash_distance=None)
        config = replace(config, dedup=searched)
    elif run.stage == "cluster":
        num_levels = sum(name.startswith("num_clusters_level_") for name in metrics)
        members = run.config["resample_sizes"]
        clustered = replace(
            config.cluster,
            num_clusters=tuple(int(metrics[f"num_clusters_level_{level}"]) for level in range(1, num_levels + 1)),
            num_resamples=int(run.config["num_resamples"]),
            resample_sizes=tuple(members) if members else None,
            max_iterations=int(run.config["max_iterations"]),
            max_memory_gb=sizes.config.cluster.max_memory_gb,
        )
        config = replace(config, cluster=clustered)
    num_pictures = int(metrics.get("num_held_out_pictures", 0))
    return formula(num_frames, replace(sizes, config=config, num_pictures=num_pictures, num_pairs=metrics.get("num_pairs")))


def tells_rate(run: FormerRun, num_done: int, num_frames: int, *, fixed_s: float) -> bool:
    """Whether a run says what `num_frames` would take.

    Beyond its fixed cost it must have taken `LEAST_VARIABLE_S`, and worked on a `FARTHEST`-th of the frames.

    Args:
        run: of any stage.
        num_done: frames that it worked on.
        num_frames: to scale it to.
        fixed_s: seconds of it that any number of frames takes.
    """
    return run.seconds - fixed_s >= evaluation.report.LEAST_VARIABLE_S and num_frames <= FARTHEST * num_done
