"""What the cost formulas give for a run that has been done: beside what it took, a correction of what they give for others."""

from __future__ import annotations

from curation.cost import (
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
from curation.look_alikes import hash_tables
from warehouse.plan_sizes import FormerRun

__all__ = ["corrected_by", "cost_of_run", "frames_of_run"]

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


def cost_of_run(run: FormerRun, *, dim: int, jpeg_bytes: float, max_memory_gb: float, rates: Rates) -> Cost | None:
    """What the formulas give for the sizes and settings of a run; None where they have none for it.

    Args:
        run: of any stage.
        dim: of the vectors.
        jpeg_bytes: mean of a candidate's JPEG.
        max_memory_gb: that clustering may take.
        rates: of this machine.
    """
    metrics, config = run.metrics, run.config
    num_frames = frames_of_run(run)
    if not num_frames:
        return None
    match run.stage:
        case "embed":
            return embed_cost(num_frames, dim=dim, rates=rates)
        case "holdout":
            return holdout_cost(int(metrics["num_held_out_pictures"]), num_frames, dim=dim, rates=rates)
        case "similarity":
            return search_cost(
                num_frames,
                dim=dim,
                num_clusters=int(metrics["num_clusters"]),
                num_tables=len(hash_tables(int(config["hash_radius"]))),
                num_pairs=int(metrics["num_pairs"]),
                rates=rates,
            )
        case "dedup":
            return dedup_cost(num_frames, rates=rates)
        case "cluster":
            levels = sorted(name for name in metrics if name.startswith("num_clusters_level_"))
            return cluster_cost(
                num_frames,
                dim=dim,
                num_clusters=tuple(int(metrics[level]) for level in levels),
                num_resamples=int(config["num_resamples"]),
                resample_sizes=config["resample_sizes"],
                max_iterations=int(config["max_iterations"]),
                max_memory_gb=max_memory_gb,
                rates=rates,
            )
        case "select":
            return select_cost(num_frames, size=int(metrics["num_selected"]), rates=rates)
        case "shard":
            return shard_cost(num_frames, jpeg_bytes=jpeg_bytes, rates=rates)
    return None


def corrected_by(run: FormerRun | None, cost: Cost, former: Cost | None) -> Cost:
    """A cost by what a run took, of which the formulas give `former`; as it is where there is no such run."""
    return cost if run is None or former is None else corrected(cost, former=former, took_s=run.seconds)
