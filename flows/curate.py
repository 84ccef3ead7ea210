"""Stage runs: embedded frames to a sharded dataset. Deduplicate, cluster, select, shard: each recorded, each skipped where it is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from curation.config import CurateConfig
from curation.curate import CURATE_VERSION, cluster_frames, deduplicate_frames, select_frames
from curation.shards import SHARD_VERSION, finish_dataset, plan_shards, write_shard
from flows.audit import audit_sentence
from flows.job import Job
from flows.progress import say, track
from flows.runners import successes
from warehouse import queries
from warehouse.artifacts import artifact_of
from warehouse.lineage import RunPlan, completed_run_id, plan_run, run_outputs
from warehouse.records import Artifact, Dataset, EmbeddingPart
from warehouse.requalification import effective_requalification

__all__ = ["run_curate"]

SELECTION_PLACEHOLDER = "{selection}"


def run_curate(job: Job, *, name: str, encoder_id: str, config: CurateConfig) -> Dataset:
    """Make the dataset `name` of `config.size` balanced, deduplicated images; one that exists with the same content is returned as it is.

    A `{selection}` in the name stands for the start of the selection's id, so that a schedule makes a new name only for new content.

    Raises:
        ValueError: the name is taken by other content.
        LakeError: no frame is embedded.
    """
    parts = queries.embedding_parts(job.lake, encoder_id)
    work = job.lake.root / "staging" / "curate" / name
    work.mkdir(parents=True, exist_ok=True)
    dedup = _deduplicate(job, parts, work, config)
    tree = _cluster(job, parts, dedup, work, config)
    selection = _select(job, tree, work, config)
    name = name.replace(SELECTION_PLACEHOLDER, selection.artifact_id[:8])
    dataset = _shard(job, name, encoder_id, dedup, tree, selection, work, config)
    for staged in work.iterdir():
        staged.unlink()
    work.rmdir()
    say(f"curate: {audit_sentence(job.lake, dataset.dataset_id)}")
    return dataset


def _subset(config: CurateConfig, *names: str) -> dict[str, object]:
    """The settings that one stage depends on: changing another stage's setting must not make this one work again."""
    return {name: getattr(config, name) for name in names}


def _done(job: Job, plan: RunPlan, kind: str) -> Artifact | None:
    run_id = completed_run_id(job.lake, plan)
    return run_outputs(job.lake, run_id, kind)[0] if run_id else None


def _deduplicate(job: Job, parts: Sequence[EmbeddingPart], work: Path, config: CurateConfig) -> Artifact:
    settings = {
        **_subset(config, "dedup_threshold", "dedup_keep", "num_dedup_clusters", "seed"),
        "candidates": queries.candidates_state(job.lake, parts[0].encoder_id),  # parts hold other frames too, and candidates come and go
    }
    inputs = [*map(artifact_of, parts), *effective_requalification(job.lake)]
    plan = plan_run(stage="dedup", version=CURATE_VERSION, config=settings, inputs=inputs, seed=config.seed)
    if done := _done(job, plan, "dedup"):
        return done
    with job.record(plan) as run:
        num_frames = queries.export_candidates(job.lake, parts[0].encoder_id, work / "candidates.parquet")
        dedup_id, num_duplicates = deduplicate_frames(
            work / "candidates.parquet", parts, lake_root=job.lake.root, out=work / "dedup.parquet", config=config
        )
        dedup = Artifact(artifact_id=dedup_id, kind="dedup", uri="tables/main/dedup", num_rows=num_frames)
        if not queries.is_recorded(job.lake, "dedup", "dedup_id", dedup_id):
            run.parts("dedup", [work / "dedup.parquet"])
        run.output(dedup)
        run.metrics.update(num_frames=num_frames, num_duplicates=num_duplicates)
    say(f"dedup: {num_frames} frames, {num_duplicates} near-duplicates of others left out")
    return dedup


def _cluster(job: Job, parts: Sequence[EmbeddingPart], dedup: Artifact, work: Path, config: CurateConfig) -> Artifact:
    settings = _subset(config, "num_clusters", "num_resamples", "resample_sizes", "max_iterations", "seed")
    plan = plan_run(stage="cluster", version=CURATE_VERSION, config=settings, inputs=[dedup], seed=config.seed)
    if done := _done(job, plan, "cluster_tree"):
        return done
    with job.record(plan) as run:
        queries.export_unique(job.lake, dedup.artifact_id, work / "unique.parquet")
        tree = cluster_frames(work / "unique.parquet", parts, lake_root=job.lake.root, out=work / "clusters.parquet", config=config)
        artifact = artifact_of(tree)
        if not queries.is_recorded(job.lake, "clusters", "tree_id", tree.tree_id):
            run.parts("clusters", [work / "clusters.parquet"])
        run.output(artifact)
        run.metrics.update({f"num_clusters_level_{level}": count for level, count in enumerate(tree.num_clusters, start=1)})
    say(f"cluster: {tree.num_frames} frames in {' / '.join(str(count) for count in tree.num_clusters)} clusters")
    return artifact


def _select(job: Job, tree: Artifact, work: Path, config: CurateConfig) -> Artifact:
    settings = _subset(config, "size", "within_leaf", "max_per_video", "seed")
    plan = plan_run(stage="select", version=CURATE_VERSION, config=settings, inputs=[tree], seed=config.seed)
    if done := _done(job, plan, "selection"):
        return done
    with job.record(plan) as run:
        num_candidates = queries.export_clustered(job.lake, tree.artifact_id, work / "clustered.parquet")
        selection = select_frames(work / "clustered.parquet", tree.artifact_id, out=work / "selection.parquet", config=config)
        artifact = artifact_of(selection)
        if not queries.is_recorded(job.lake, "selections", "selection_id", selection.selection_id):
            run.parts("selections", [work / "selection.parquet"])
        run.output(artifact)
        run.metrics.update(num_candidates=num_candidates, num_selected=selection.num_frames)
    if num_candidates < config.size:
        say(f"select: {config.size} images were asked for and there are {num_candidates} candidates: all are taken")
    else:
        say(f"select: {selection.num_frames} of {num_candidates} frames, balanced over the clusters")
    return artifact


def _shard(
    job: Job,
    name: str,
    encoder_id: str,
    dedup: Artifact,
    tree: Artifact,
    selection: Artifact,
    work: Path,
    config: CurateConfig,
) -> Dataset:
    settings = {"name": name, **_subset(config, "images_per_shard", "min_shards", "seed")}
    plan = plan_run(stage="shard", version=SHARD_VERSION, config=settings, inputs=[selection], seed=config.seed)
    if completed_run_id(job.lake, plan):
        say(f"shard: dataset {name!r} is there already")
        return queries.dataset_named(job.lake, name)
    queries.refuse_taken_name(job.lake, name, selection.artifact_id)
    with job.record(plan) as run:
        members = queries.dataset_members(job.lake, selection.artifact_id, tree.artifact_id)
        plans = plan_shards(
            members,
            name=name,
            images_per_shard=config.images_per_shard,
            min_shards=config.min_shards,
            seed=config.seed,
            lake_root=str(job.lake.root),
        )
        written = successes(job.runner.map(write_shard, plans, lake_root=str(job.lake.root)), stage="shard")
        shards = list(track(written, description="write shards", total=len(plans)))
        dataset = finish_dataset(plans, shards, selection_id=selection.artifact_id, lake_root=str(job.lake.root))
        run.rows(
            "datasets",
            [
                {
                    "dataset_id": dataset.dataset_id,
                    "name": name,
                    "selection_id": selection.artifact_id,
                    "dedup_id": dedup.artifact_id,
                    "tree_id": tree.artifact_id,
                    "encoder_id": encoder_id,
                    "path": dataset.path,
                    "num_images": dataset.num_images,
                    "num_shards": len(shards),
                    "seed": config.seed,
                }
            ],
        )
        run.rows("shards", [{**asdict(shard), "shard": shard.name, "dataset_id": dataset.dataset_id} for shard in shards])
        run.parts("shard_frames", [job.lake.root / dataset.path / "samples.parquet"], dataset_id=dataset.dataset_id)
        run.output(artifact_of(dataset))
        run.metrics.update(num_images=dataset.num_images, num_shards=len(shards))
    say(f"shard: {dataset.num_images} images in {len(shards)} tars in {job.lake.root / dataset.path}")
    return dataset
