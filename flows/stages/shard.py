"""Stage run: selected frames to the shards of a dataset."""

from __future__ import annotations

from dataclasses import asdict

from curation.shards import SHARD_VERSION, Reencode, ShardConfig, finish_dataset, plan_shards, write_shard
from flows.job import Job
from flows.runners import say, successes, track
from flows.stages.cards import make_cards
from flows.stages.one_at_a_time import one_at_a_time
from warehouse import queries
from warehouse.artifacts import artifact_of
from warehouse.lineage import RunPlan, completed_run_id, plan_run
from warehouse.records import Artifact, Dataset, Shard

__all__ = ["plan_shard", "run_shard", "shard_settings"]


def shard_settings(name: str, config: ShardConfig, seed: int) -> dict[str, object]:
    """What the bytes of a dataset depend on beside its selection."""
    # settings that came later are left out where they change nothing, so that a dataset made before is still found
    later = {"remainder": "spread", "max_side": None, "jpeg_quality": ShardConfig().jpeg_quality}
    settings = {key: value for key, value in asdict(config).items() if config.max_side or later.get(key, ...) != value}
    return {"name": name, **settings, "seed": seed}


def plan_shard(*, selection: Artifact, settings: dict[str, object], seed: int) -> RunPlan:
    """Name the writing of a dataset."""
    return plan_run(stage="shard", version=SHARD_VERSION, config=settings, inputs=[selection], seed=seed)


def run_shard(
    job: Job, *, name: str, encoder_id: str, dedup: Artifact, tree: Artifact, selection: Artifact, config: ShardConfig, seed: int
) -> Dataset:
    """Write the selected frames as the tars of the dataset `name`; one that is there already is returned as it is.

    Raises:
        LakeError: the name is taken by other content.
    """
    with one_at_a_time(job.lake.root, f"dataset-{name}"):  # two that wrote one at once would mix their tars
        return _shard(job, name, encoder_id, dedup, tree, selection, config, seed)


def _shard(
    job: Job, name: str, encoder_id: str, dedup: Artifact, tree: Artifact, selection: Artifact, config: ShardConfig, seed: int
) -> Dataset:
    settings = shard_settings(name, config, seed)
    plan = plan_shard(selection=selection, settings=settings, seed=seed)
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
            remainder=config.remainder,
            reencode=Reencode(max_side=config.max_side, quality=config.jpeg_quality) if config.max_side else None,
        )
        written = successes(job.runner.map(write_shard, plans, lake_root=str(job.lake.root)), stage="shard")
        shards = list(track(written, description="write shards", total=len(plans)))
        made_from = {"dedup_id": dedup.artifact_id, "tree_id": tree.artifact_id, "encoder_id": encoder_id}
        dataset = finish_dataset(
            plans,
            shards,
            selection_id=selection.artifact_id,
            lake_root=str(job.lake.root),
            cards=lambda made: make_cards(job.lake, made, made_from=made_from, settings=settings),
        )
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
        run.rows("shards", [_shard_row(dataset.dataset_id, shard) for shard in shards])
        run.parts("shard_frames", [job.lake.root / dataset.path / "samples.parquet"], dataset_id=dataset.dataset_id)
        run.output(artifact_of(dataset))
        num_more = dataset.num_images - members.num_rows
        run.metrics.update(
            num_images=dataset.num_images, num_shards=len(shards), num_repeated=max(0, num_more), num_left_out=max(0, -num_more)
        )
    if num_more:
        what = "come once more in another tar" if num_more > 0 else "are left out"
        say(f"shard: {abs(num_more)} of the {members.num_rows} selected frames {what}, so that all tars hold the same number")
    say(f"shard: {dataset.num_images} images in {len(shards)} tars in {job.lake.root / dataset.path}")
    return dataset


def _shard_row(dataset_id: str, shard: Shard) -> dict[str, object]:
    """A row of the `shards` table, which calls a shard's name `shard`."""
    row = asdict(shard)
    return {"dataset_id": dataset_id, "shard": row.pop("name"), **row}
