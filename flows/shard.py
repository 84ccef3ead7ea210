"""Stage run: selected frames to the shards of a dataset."""

from __future__ import annotations

from dataclasses import asdict

from curation.curate_config import ShardConfig
from curation.shards import SHARD_VERSION, finish_dataset, plan_shards, write_shard
from flows.job import Job
from flows.progress import say, track
from flows.runners import successes
from warehouse import queries
from warehouse.artifacts import artifact_of
from warehouse.lineage import completed_run_id, plan_run
from warehouse.records import Artifact, Dataset

__all__ = ["run_shard"]


def run_shard(
    job: Job, *, name: str, encoder_id: str, dedup: Artifact, tree: Artifact, selection: Artifact, config: ShardConfig, seed: int
) -> Dataset:
    """Write the selected frames as the tars of the dataset `name`; one that is there already is returned as it is.

    Raises:
        LakeError: the name is taken by other content.
    """
    settings = {"name": name, **asdict(config), "seed": seed}
    plan = plan_run(stage="shard", version=SHARD_VERSION, config=settings, inputs=[selection], seed=seed)
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
            seed=seed,
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
                    "seed": seed,
                }
            ],
        )
        run.rows("shards", [{**asdict(shard), "shard": shard.name, "dataset_id": dataset.dataset_id} for shard in shards])
        run.parts("shard_frames", [job.lake.root / dataset.path / "samples.parquet"], dataset_id=dataset.dataset_id)
        run.output(artifact_of(dataset))
        run.metrics.update(num_images=dataset.num_images, num_shards=len(shards))
    say(f"shard: {dataset.num_images} images in {len(shards)} tars in {job.lake.root / dataset.path}")
    return dataset
