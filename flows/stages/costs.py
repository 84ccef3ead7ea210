"""What the cost formulas give for each stage of curation by its settings, and for a run that has been done: beside what that took, a
correction of what they give for others.
"""

from __future__ import annotations

from curation.clustering import ClusterConfig
from curation.config import CurateConfig
from curation.dedup import DedupConfig, hash_tables
from curation.planning import (
    Cost,
    Rates,
    cluster_cost,
    corrected,
    dedup_cost,
    embed_cost,
    holdout_cost,
    search_cost,
    select_cost,
    shard_cost,
)
from evaluation.report import LEAST_VARIABLE_S
from warehouse.plan_sizes import FormerRun

__all__ = ["FARTHEST", "corrected_by", "cost_of_run", "frames_of_run", "stage_cost", "tells_rate"]

FARTHEST = 1000
"""How many times as many frames as it worked on a run may be scaled to."""
_FRAMES = {
    "ingest": "num_frames_kept",
    "embed": "num_frames",
    "holdout": "num_compared",
    "similarity": "num_frames",
    "dedup": "num_frames",
    "cluster": "num_frames",
    "select": "num_candidates",
    "shard": "num_images",
}
"""the metric that says how many frames a stage worked on"""


def frames_of_run(run: FormerRun) -> int:
    """How many frames a run worked on; 0 where it is of no such stage, or from before this was recorded."""
    return int(run.metrics.get(_FRAMES.get(run.stage, ""), 0))


def stage_cost(
    stage: str,
    num_frames: int,
    *,
    config: CurateConfig,
    dim: int,
    jpeg_bytes: float,
    rates: Rates,
    num_pictures: int = 0,
    num_pairs: int | None = None,
) -> Cost | None:
    """What the formulas give for a stage; None where they have none for it.

    Args:
        stage: as runs are named.
        num_frames: that it works on; images, for shard.
        config: what is asked for.
        dim: of the vectors.
        jpeg_bytes: mean of a candidate's JPEG.
        rates: of the machine.
        num_pictures: held out.
        num_pairs: that similarity compares, where that is known.
    """
    dedup, cluster = config.dedup, config.cluster
    match stage:
        case "embed":
            return embed_cost(num_frames, dim=dim, rates=rates)
        case "holdout":
            return holdout_cost(num_pictures, num_frames, dim=dim, rates=rates)
        case "similarity":
            return search_cost(
                num_frames,
                dim=dim,
                num_clusters=dedup.num_dedup_clusters,
                num_tables=len(hash_tables(dedup.dedup_hash_radius)),
                num_pairs=num_pairs,
                rates=rates,
            )
        case "dedup":
            return dedup_cost(num_frames, rates=rates)
        case "cluster":
            return cluster_cost(
                num_frames,
                dim=dim,
                num_clusters=cluster.num_clusters,
                num_resamples=cluster.num_resamples,
                resample_sizes=cluster.resample_sizes,
                max_iterations=cluster.max_iterations,
                max_memory_gb=cluster.max_memory_gb,
                rates=rates,
            )
        case "select":
            return select_cost(num_frames, size=config.size, rates=rates, spread_dim=dim if config.sample.within_leaf == "diverse" else 0)
        case "shard":
            return shard_cost(num_frames, jpeg_bytes=jpeg_bytes, rates=rates)
    return None


def cost_of_run(run: FormerRun, *, dim: int, jpeg_bytes: float, max_memory_gb: float, rates: Rates) -> Cost | None:
    """What the formulas give for the sizes and settings of a run; None where they have none for it.

    Args:
        run: of any stage.
        dim: of the vectors.
        jpeg_bytes: mean of a candidate's JPEG.
        max_memory_gb: that clustering may take.
        rates: of this machine.
    """
    num_frames = frames_of_run(run)
    if not num_frames:
        return None
    return stage_cost(
        run.stage,
        num_frames,
        config=_config_of(run, max_memory_gb),
        dim=dim,
        jpeg_bytes=jpeg_bytes,
        rates=rates,
        num_pictures=int(run.metrics.get("num_held_out_pictures", 0)),
        num_pairs=run.metrics.get("num_pairs"),
    )


def _config_of(run: FormerRun, max_memory_gb: float) -> CurateConfig:
    """What a run was asked for, as far as its costs depend on it, with the numbers that were chosen where none were given."""
    metrics, config = run.metrics, run.config
    match run.stage:
        case "similarity":
            searched = DedupConfig(
                num_dedup_clusters=int(metrics["num_clusters"]), dedup_hash_radius=int(config["hash_radius"]), dedup_hash_distance=None
            )
            return CurateConfig(size=1, dedup=searched)
        case "cluster":
            levels = sorted(
                (name for name in metrics if name.startswith("num_clusters_level_")),
                key=lambda name: int(name.removeprefix("num_clusters_level_")),
            )
            clustered = ClusterConfig(
                num_clusters=tuple(int(metrics[level]) for level in levels),
                num_resamples=int(config["num_resamples"]),
                resample_sizes=tuple(config["resample_sizes"]) if config["resample_sizes"] else None,
                max_iterations=int(config["max_iterations"]),
                max_memory_gb=max_memory_gb,
            )
            return CurateConfig(size=1, cluster=clustered)
    return CurateConfig(size=max(1, int(metrics.get("num_selected", 1))))


def tells_rate(run: FormerRun, num_frames: int, *, fixed_s: float) -> bool:
    """Whether a run says what `num_frames` would take.

    Beyond its fixed cost it must have taken `LEAST_VARIABLE_S`, and worked on a `FARTHEST`-th of the frames.

    Args:
        run: of any stage.
        num_frames: to scale it to.
        fixed_s: seconds of it that any number of frames takes.
    """
    return run.seconds - fixed_s >= LEAST_VARIABLE_S and num_frames <= FARTHEST * frames_of_run(run)


def corrected_by(run: FormerRun | None, cost: Cost, former: Cost | None) -> Cost:
    """A cost by what a run took, of which the formulas give `former`; as it is where there is no such run."""
    return cost if run is None or former is None else corrected(cost, former=former, took_s=run.seconds)
