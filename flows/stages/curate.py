"""Embedded frames to a sharded dataset: hold out, deduplicate, cluster, select, shard; each recorded, each skipped where it is done."""

from __future__ import annotations

from pathlib import Path

from curation.config import CurateConfig
from curation.shards import SELECTION_PLACEHOLDER
from curation.sources import scratch_folder
from flows.job import Job
from flows.runners import say
from flows.stages.audit_words import dataset_sentence
from flows.stages.checks import check_dataset_names, nested_name, refuse_taken_names
from flows.stages.cluster import run_cluster
from flows.stages.dedup import run_dedup
from flows.stages.select import run_select
from flows.stages.shard import run_shard
from warehouse import queries
from warehouse.dataset_audit import dataset_audit
from warehouse.records import Artifact, Dataset

__all__ = ["dataset_name", "run_curate"]


def run_curate(job: Job, *, name: str, encoder_id: str, config: CurateConfig) -> Dataset:
    """Make the dataset `name` of `config.size` balanced, deduplicated images; one that exists with the same content is returned as it is.

    For each size of `config.nested` a dataset `name-SIZE` is made that lies within it. A `{selection}` in the name stands for the start of
    the selection's id, so that a schedule makes a new name only for new content.

    Raises:
        ValueError: the name is not allowed, or is taken by other content; said before the work where it can be known.
        LakeError: no frame is embedded.
    """
    check_dataset_names(name, config)
    refuse_taken_names(job.lake, name, config)
    with scratch_folder(job.lake.root / "staging" / "curate") as work:  # several may run at a time, of one name too
        datasets = _made(job, work, name=name, encoder_id=encoder_id, config=config)
    for dataset in datasets:
        say(f"curate: {dataset.name}: {dataset_sentence(dataset_audit(job.lake, dataset.dataset_id), job.lake.root)}")
    return datasets[0]


def _made(job: Job, work: Path, *, name: str, encoder_id: str, config: CurateConfig) -> list[Dataset]:
    """The dataset of `config.size` and those of `config.nested`, the largest first."""
    seed = config.seed
    parts = queries.embedding_parts(job.lake, encoder_id)
    holdout = None
    if config.holdout.holdout:
        from flows.stages.holdout import (
            run_holdout,  # with an encoder, which the other stages would carry along: 0.7 GB of memory and seconds
        )

        holdout = run_holdout(job, encoder_id=encoder_id, config=config.holdout, seed=seed)
    dedup = run_dedup(job, parts=parts, work=work, config=config.dedup, seed=seed, holdout=holdout)
    tree, placement = run_cluster(job, parts=parts, dedup=dedup, config=config.cluster, seed=seed)
    datasets = []
    for size in (config.size, *sorted(config.nested, reverse=True)):
        selection = run_select(
            job, tree=tree, placement=placement, dedup=dedup, parts=parts, work=work, size=size, config=config.sample, seed=seed
        )
        named = dataset_name(name, size, config, selection)
        datasets.append(
            run_shard(job, name=named, encoder_id=encoder_id, dedup=dedup, tree=tree, selection=selection, config=config.shard, seed=seed)
        )
    return datasets


def dataset_name(name: str, size: int, config: CurateConfig, selection: Artifact) -> str:
    """The name of the dataset of one of the sizes."""
    return nested_name(name, size, config).replace(SELECTION_PLACEHOLDER, selection.artifact_id[:8])
