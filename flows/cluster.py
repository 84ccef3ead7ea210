"""Stage run: the unique frames to a tree of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from curation.cluster import CLUSTER_VERSION, cluster_frames
from curation.curate_config import ClusterConfig
from flows.job import Job
from flows.progress import say
from warehouse import queries
from warehouse.artifacts import artifact_of
from warehouse.lineage import plan_run
from warehouse.records import Artifact, EmbeddingPart

__all__ = ["run_cluster"]


def run_cluster(job: Job, *, parts: Sequence[EmbeddingPart], dedup: Artifact, work: Path, config: ClusterConfig, seed: int) -> Artifact:
    """Cluster what a deduplication has kept; returns the cluster tree."""
    settings = {**asdict(config), "seed": seed}
    plan = plan_run(stage="cluster", version=CLUSTER_VERSION, config=settings, inputs=[dedup], seed=seed)
    if done := job.done(plan, "cluster_tree"):
        return done
    with job.record(plan) as run:
        queries.export_unique(job.lake, dedup.artifact_id, work / "unique.parquet")
        tree = cluster_frames(
            work / "unique.parquet", parts, lake_root=job.lake.root, out=work / "clusters.parquet", config=config, seed=seed
        )
        artifact = artifact_of(tree)
        if not queries.is_recorded(job.lake, "clusters", "tree_id", tree.tree_id):
            run.parts("clusters", [work / "clusters.parquet"])
        run.output(artifact)
        run.metrics.update({f"num_clusters_level_{level}": count for level, count in enumerate(tree.num_clusters, start=1)})
    say(f"cluster: {tree.num_frames} frames in {' / '.join(str(count) for count in tree.num_clusters)} clusters")
    return artifact
