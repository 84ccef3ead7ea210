"""Stage run: selected frames to the shards of a dataset."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from curation.clips import clip_key
from curation.shards import SELECTION_PLACEHOLDER, SHARD_VERSION, Reencode, finish_dataset, plan_shards, write_shard
from flows.config import RunConfig
from flows.job import Job, one_at_a_time
from flows.runners import say, successes, track
from flows.stages.cards import make_cards, make_clip_cards
from flows.stages.pool import members_of, what
from flows.stages.stage import Made, needed
from flows.tally import current_tally
from warehouse import dataset_queries
from warehouse.artifacts import artifact_of
from warehouse.lake import Lake
from warehouse.lineage import RunPlan, completed_run_id, plan_run
from warehouse.records import Dataset, Shard

__all__ = ["dataset_name", "plan_shard", "run_shard"]


def dataset_name(config: RunConfig, made: Made) -> str:
    """The name of the dataset, now that its selection is known."""
    return config.name.replace(SELECTION_PLACEHOLDER, needed(made.selection).artifact_id[:8])


def plan_shard(lake: Lake, config: RunConfig, made: Made) -> RunPlan:
    """Name the writing of a dataset by what its bytes depend on."""
    settings = {"name": dataset_name(config, made), **asdict(config.shard), "seed": config.seed}
    return plan_run(stage="shard", version=SHARD_VERSION, config=settings, inputs=[needed(made.selection)], seed=config.seed)


def run_shard(job: Job, config: RunConfig, made: Made) -> Dataset:
    """Write the selected frames as the tars of a dataset; one that is there already is returned as it is.

    Raises:
        LakeError: the name is taken by other content.
    """
    name, plan = dataset_name(config, made), plan_shard(job.lake, config, made)
    lock = job.lake.root / "staging" / f"dataset-{name}.lock"  # two that wrote one at once would mix their tars
    with one_at_a_time(lock, busy=f"another process works on dataset-{name}"):
        if completed_run_id(job.lake, plan):
            current_tally().reused("shard")
            say(f"shard: dataset {name!r} is there already")
            return dataset_queries.dataset_named(job.lake, name)
        selection_id, root = needed(made.selection).artifact_id, str(job.lake.root)
        dataset_queries.refuse_taken_name(job.lake, name, selection_id)
        made_from = {
            "dedup_id": needed(made.dedup).artifact_id,
            "tree_id": needed(made.tree).artifact_id,
            "encoder_id": made.encoder_id,
        }
        with job.record(plan) as run:
            members, kind = members_of(job.lake, config, made)
            plans = plan_shards(
                members,
                name=name,
                images_per_shard=config.shard.images_per_shard,
                min_shards=config.shard.min_shards,
                seed=config.seed,
                lake_root=root,
                remainder=config.shard.remainder,
                reencode=Reencode(max_side=config.shard.max_side, quality=config.shard.jpeg_quality) if config.shard.max_side else None,
                kind=kind,
            )
            written = successes(job.runner.map(write_shard, plans, lake_root=root), stage="shard")
            dataset = finish_dataset(
                plans,
                list(track(written, description="write shards", total=len(plans))),
                selection_id=selection_id,
                lake_root=root,
                cards=lambda done: _cards(job, config, made, done, made_from, json.loads(plan.config)),
            )
            num_shards, num_more = len(dataset.shards), dataset.num_images - members.num_rows
            row = {name: getattr(dataset, name) for name in ("dataset_id", "name", "selection_id", "path", "num_images")}
            row |= {"kind": "clips" if made.clips else "images"}
            run.rows("datasets", [{**row, **made_from, "num_shards": num_shards, "seed": config.seed}])
            run.rows("shards", [_shard_row(dataset.dataset_id, shard) for shard in dataset.shards])
            run.parts(
                "shard_clips" if made.clips else "shard_frames",
                [job.lake.root / dataset.path / "samples.parquet"],
                dataset_id=dataset.dataset_id,
            )
            run.output(artifact_of(dataset))
            counts = {"num_repeated": max(0, num_more), "num_left_out": max(0, -num_more)}
            run.metrics.update(num_images=dataset.num_images, num_shards=num_shards, **counts)
    if num_more:
        how = "come once more in another tar" if num_more > 0 else "are left out"
        say(f"shard: {abs(num_more)} of the {members.num_rows} selected {what(made)} {how}, so that all tars hold the same number")
    say(f"shard: {dataset.num_images} {'clips' if made.clips else 'images'} in {num_shards} tars in {job.lake.root / dataset.path}")
    return dataset


def _cards(job: Job, config: RunConfig, made: Made, done: Dataset, made_from: dict[str, str], settings: dict[str, Any]) -> dict[str, str]:
    if not made.clips:
        return make_cards(job.lake, done, made_from=made_from, settings=settings)
    clips = config.clips
    told: dict[str, Any] = {"settings": settings, "clip_settings": clips.cutting(), "clip_key": clip_key(clips)}
    return make_clip_cards(job.lake, done, made_from=made_from, **told)


def _shard_row(dataset_id: str, shard: Shard) -> dict[str, object]:
    """A row of the `shards` table, which calls a shard's name `shard`."""
    row = asdict(shard)
    return {"dataset_id": dataset_id, "shard": row.pop("name"), **row}
