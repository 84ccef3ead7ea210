"""Embedded frames to sharded datasets: the stages of curation in their order, each recorded, each skipped if it is done."""

from __future__ import annotations

from dataclasses import replace

import flows.stages.cluster  # a missing FAISS is to be named before any work
from curation.config import CurateConfig
from flows.config import RunConfig
from flows.job import Job
from flows.runners import say, say_undone
from flows.stages.audit_words import dataset_sentence
from flows.stages.checks import check_dataset_names, refuse_taken_names
from flows.stages.order import run_stages, stages_of
from flows.stages.stage import Made
from warehouse.dataset_audit import dataset_audit
from warehouse.queries import embedding_parts
from warehouse.records import Dataset

__all__ = ["run_curate", "run_curation"]


def run_curate(job: Job, *, name: str, encoder_id: str, config: CurateConfig) -> Dataset:
    """Make the dataset `name` of `config.size` balanced, deduplicated images; one that exists with the same content is returned as it is.

    For each size of `config.nested` a dataset `name-SIZE` is made that lies within it. A `{selection}` in the name stands for the start of
    the selection's id, so that a schedule makes a new name only for new content.

    Raises:
        ValueError: the name is not allowed, or is taken by other content; said before the work where it can be known.
        LakeError: no frame is embedded.
    """
    return run_curation(job, RunConfig.of_curation(job.lake.root, name, config), Made(encoder_id=encoder_id)).datasets[0]


def run_curation(job: Job, config: RunConfig, made: Made) -> Made:
    """The same, as one command of a run."""
    check_dataset_names(config.name, config.curate)
    refuse_taken_names(job.lake, config.name, config.curate)
    held_out = flows.stages.read_held_out(config.holdout) if config.holdout.holdout else None
    made = replace(made, parts=embedding_parts(job.lake, made.encoder_id), held_out=held_out)
    made = run_stages(stages_of("curate"), job, config, made)
    if made.clips:
        for dataset in made.datasets:
            flows.stages.write_strips(job, dataset)
    for dataset in made.datasets:
        verdict = dataset_audit(job.lake, dataset.dataset_id)
        tell = say if verdict.is_clear else say_undone
        tell(f"curate: {dataset.name}: {dataset_sentence(verdict, job.lake.root)}")
    return made
