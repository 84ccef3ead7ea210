"""Stage run: the unique frames to a tree of clusters, an earlier one of the same settings where that still suits them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curation.clustering import CLUSTER_VERSION, ClusterConfig, Map, cluster_frames, default_num_clusters
from flows.job import Job
from flows.runners import Runner, say, successes, track
from flows.stages.place import Fit, placed, run_place
from warehouse import queries, trees
from warehouse.artifacts import artifact_of
from warehouse.lineage import RunPlan, RunRecorder, plan_run
from warehouse.plan_sizes import num_not_in_tree
from warehouse.records import Artifact, EmbeddingPart

__all__ = ["find_tree", "frames_to_place", "run_cluster"]


def _plan(*, encoder_id: str, dedup: Artifact, config: ClusterConfig, seed: int) -> RunPlan:
    """Name the clustering: memory and the rules for a new tree do not change what a tree is."""
    settings = {
        "encoder_id": encoder_id,
        "num_clusters": config.num_clusters,
        "num_resamples": config.num_resamples,
        "resample_sizes": config.resample_sizes,
        "max_iterations": config.max_iterations,
        "seed": seed,
    }
    return plan_run(stage="cluster", version=CLUSTER_VERSION, config=settings, inputs=[dedup], seed=seed)


def find_tree(job: Job, *, encoder_id: str, dedup: Artifact, config: ClusterConfig, seed: int) -> tuple[Artifact, Artifact | None] | None:
    """What `run_cluster` would return without any work; None if there is work to do."""
    plan = _plan(encoder_id=encoder_id, dedup=dedup, config=config, seed=seed)
    if done := job.done(plan):
        return done, None
    tree = trees.latest_tree(job.lake, plan.config, CLUSTER_VERSION) if config.refit != "always" else None
    placement = placed(job, tree=tree, dedup=dedup, config=config) if tree else None
    return (tree.artifact, placement) if tree and placement else None


def frames_to_place(
    job: Job, *, encoder_id: str, dedup: Artifact | None, num_unique: int, config: ClusterConfig, seed: int
) -> tuple[int, int] | None:
    """Guess how many new frames the next clustering places, and in how many finest clusters; None if it makes a new tree.

    Args:
        job: the lake.
        encoder_id: of the vectors.
        dedup: the frames to cluster; None if they are not decided yet.
        num_unique: how many they are, or will be.
        config: of clustering.
        seed: of clustering.
    """
    plan = _plan(encoder_id=encoder_id, dedup=dedup or Artifact(artifact_id="", kind="", uri=""), config=config, seed=seed)
    tree = trees.latest_tree(job.lake, plan.config, CLUSTER_VERSION) if config.refit != "always" else None
    if tree is None:
        return None
    num_before = tree.artifact.num_rows or 1
    if config.refit != "never" and not 1 / config.max_growth <= num_unique / num_before <= config.max_growth:
        return None
    num_new = num_not_in_tree(job.lake, dedup.artifact_id, tree.artifact.artifact_id) if dedup else abs(num_unique - num_before)
    return num_new, (config.num_clusters or default_num_clusters(num_before))[0]


def run_cluster(
    job: Job,
    *,
    parts: Sequence[EmbeddingPart],
    dedup: Artifact,
    config: ClusterConfig,
    seed: int,
    export: Callable[..., int] = queries.export_unique,
    item: str = "frame",
) -> tuple[Artifact, Artifact | None]:
    """Bring what a deduplication has kept under a tree of clusters.

    Frames that were clustered with these settings are not clustered again. Where others were, `config.refit` says whether the new ones
    are placed in that tree or all of them get a new one. `export` writes what is clustered, as `queries.export_unique` does, and `item` is
    what that is, frame or clip.

    Returns:
        The cluster tree, and the placement of the frames in it that are new since it was made, if there was one.
    """
    plan = _plan(encoder_id=parts[0].encoder_id, dedup=dedup, config=config, seed=seed)
    if done := job.done(plan):
        return done, None
    replaced: Fit | None = None
    with _mapped(job.runner) as run_map:
        if config.refit != "always" and (tree := trees.latest_tree(job.lake, plan.config, CLUSTER_VERSION)):
            placement, replaced = run_place(job, tree=tree, parts=parts, dedup=dedup, config=config, run_map=run_map, export=export)
            if placement:
                return tree.artifact, placement

        def fit(run: RunRecorder, work: Path) -> Artifact:
            export(job.lake, dedup.artifact_id, work / "unique.parquet")
            made = cluster_frames(
                work / "unique.parquet",
                parts,
                frames_id=dedup.artifact_id,
                lake_root=job.lake.root,
                out=work / "clusters.parquet",
                work=work,
                config=config,
                seed=seed,
                run_map=run_map,
                report=say,
            )
            run.named_rows("clusters", "tree_id", made.tree.tree_id, work / "clusters.parquet")
            run.metrics.update({f"num_clusters_level_{level}": count for level, count in enumerate(made.tree.num_clusters, start=1)})
            run.metrics.update(num_frames=made.tree.num_frames, mean_distance=made.mean_distance)
            if replaced:
                run.metrics.update(replaced_drift=replaced.drift, replaced_growth=replaced.growth)
            say(f"cluster: {made.tree.num_frames} {item}s in {' / '.join(str(count) for count in made.tree.num_clusters)} clusters")
            return artifact_of(made.tree)

        return job.once(plan, fit, resumes=True), None


@contextmanager
def _mapped(runner: Runner) -> Iterator[Map]:
    """The runner as clustering uses it: pass after pass on the same workers, and no block may fail."""

    def run_map(function: Any, items: Sequence[Any], **shared: Any) -> Iterator[Any]:
        results = successes(runner.map(function, items, **shared), stage="cluster")
        return track(results, description="cluster blocks", total=len(items))

    with runner.reuse_workers():
        yield run_map
