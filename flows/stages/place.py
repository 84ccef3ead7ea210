"""Stage run: frames that are new since a tree of clusters was made, to their places in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from curation.clustering import PLACE_VERSION, ClusterConfig, Map, place_frames
from flows.job import Job, one_at_a_time
from flows.runners import say
from warehouse import queries, trees
from warehouse.lineage import RunPlan, completed_run_id, plan_run
from warehouse.records import Artifact, EmbeddingPart
from warehouse.trees import KnownTree

__all__ = ["Fit", "placed", "run_place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How well a tree still suits the frames."""

    drift: float
    """mean distance of the frames placed since the tree was made, over that of its own frames; 1 where there are none"""
    growth: float
    """unique frames now over those that the tree was made of"""

    def objection(self, config: ClusterConfig) -> str | None:
        """Why a new tree is due by these settings, or None."""
        if self.drift > config.max_drift:
            return f"new frames are {self.drift:.2f} times as far from their centroids as its own, and {config.max_drift:g} is allowed"
        if not 1 / config.max_growth <= self.growth <= config.max_growth:
            return f"there are {self.growth:.2f} times as many frames as it was made of, and {config.max_growth:g} is allowed"
        return None


def _plan(*, tree: KnownTree, dedup: Artifact) -> RunPlan:
    """Name the placing of what a deduplication has kept in a tree."""
    return plan_run(stage="place", version=PLACE_VERSION, config={}, inputs=[tree.artifact, dedup])


def placed(job: Job, *, tree: KnownTree, dedup: Artifact, config: ClusterConfig) -> Artifact | None:
    """The committed placement of these frames, if there is one and `config` does not ask for a new tree instead."""
    plan = _plan(tree=tree, dedup=dedup)
    run_id = completed_run_id(job.lake, plan)
    if run_id is None or (config.refit == "auto" and _recorded_fit(job, run_id).objection(config)):
        return None
    return job.done(plan)


def run_place(
    job: Job,
    *,
    tree: KnownTree,
    parts: Sequence[EmbeddingPart],
    dedup: Artifact,
    config: ClusterConfig,
    run_map: Map,
    export: Callable[..., int] = queries.export_unique,
) -> tuple[Artifact | None, Fit]:
    """Place the unique frames that a tree lacks in it; returns the placement, or None where `config` asks for a new tree instead."""
    tree_id = tree.artifact.artifact_id
    plan = _plan(tree=tree, dedup=dedup)
    placement = Artifact(artifact_id=plan.stage_key, kind="placement", uri="tables/main/clusters")
    lock = job.lake.root / "clusters" / f"{tree_id}.lock"  # two that place the same frame would both write its rows
    with one_at_a_time(lock, busy=f"another process places frames in the tree {tree_id[:16]}"):
        if run_id := completed_run_id(job.lake, plan):
            fit = _recorded_fit(job, run_id)
            return (None if config.refit == "auto" and fit.objection(config) else job.done(plan)), fit
        work = job.lake.root / "staging" / "place" / plan.run_id
        work.mkdir(parents=True, exist_ok=True)
        num_new = export(job.lake, dedup.artifact_id, work / "new.parquet", not_in_tree=tree_id)
        mean_distance = 0.0
        if num_new:
            mean_distance = place_frames(
                work / "new.parquet",
                parts,
                tree_id=tree_id,
                tree_path=tree.artifact.uri,
                lake_root=job.lake.root,
                out=work / "clusters.parquet",
                work=work,
                max_memory_gb=config.max_memory_gb,
                run_map=run_map,
            )
        num_before, total_before = trees.placed_before(job.lake, tree_id)
        fit = _fit(tree, num_new + num_before, total_before + num_new * mean_distance, trees.num_unique(job.lake, dedup.artifact_id))
        objection = fit.objection(config) if config.refit == "auto" else None
        if objection:
            say(f"cluster: the tree {tree_id[:16]} does not suit any more: {objection}; a new one is made")
        else:
            with job.record(plan) as run:
                if num_new:
                    run.parts("clusters", [work / "clusters.parquet"])
                run.output(placement)
                run.metrics.update(num_new=num_new, mean_distance=mean_distance, drift=fit.drift, growth=fit.growth)
            say(
                f"cluster: {num_new} new frames placed in the tree {tree_id[:16]} of {tree.artifact.num_rows}; those placed since "
                f"lie {fit.drift:.2f} times as far from their centroids as its own (--refit auto: up to {config.max_drift:g})"
            )
        shutil.rmtree(work)
    return (None if objection else placement), fit


def _fit(tree: KnownTree, num_placed: int, total_distance: float, num_frames: int) -> Fit:
    own = max(tree.mean_distance, 1e-6)  # of a tree with a cluster for each frame it is 0
    drift = total_distance / num_placed / own if num_placed else 1.0
    return Fit(drift=drift, growth=num_frames / (tree.artifact.num_rows or 1))


def _recorded_fit(job: Job, run_id: str) -> Fit:
    metrics = queries.run_json(job.lake, run_id, "metrics")
    return Fit(drift=metrics["drift"], growth=metrics["growth"])
