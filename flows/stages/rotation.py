"""Stage run: one fold of a task, or all folds in turn and one row of them together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from curation.embedding import EmbedConfig
from evaluation.config import EvaluateConfig
from evaluation.pooled_folds import pooled_values
from evaluation.rotation import rotation_rows
from evaluation.run import STAGE_VERSION
from evaluation.tasks import SplitStore, TaskData, TaskError, configured_task
from flows.job import Job
from flows.runners import say
from flows.stages.evaluate import HEADLINES, run_evaluate, shown_value
from flows.stages.scored_models import scored_model
from warehouse.artifacts import artifact_of
from warehouse.forgotten import lake_key
from warehouse.lineage import completed_run_id, plan_run
from warehouse.queries import scores_of
from warehouse.records import Score

__all__ = ["evaluate_folds"]


def evaluate_folds(job: Job, *, checkpoint: str, task: str, data: Path, encoder: EmbedConfig, config: EvaluateConfig) -> tuple[Score, ...]:
    """Score a checkpoint and its baselines on the fold that `config` names, or on all folds.

    Of all folds, each is a scored set of its own in the lake, and the returned rows are those of the rotation.

    Args:
        job: the lake that gets the scores.
        checkpoint: a pretraining run's id, or an exported folder.
        task: a known task, or auto.
        data: the task's folder.
        encoder: the baseline.
        config: protocol and fold among the rest.

    Raises:
        LakeError: no such run.
        TaskError: no such task, its data is unusable, or it has no folds.
    """
    if config.fold != "all":
        return run_evaluate(job, checkpoint=checkpoint, task=task, data=data, encoder=encoder, config=config)
    stored = SplitStore(folder=job.lake.root / "splits", data=data.absolute(), key=lake_key(job.lake.root))
    num_folds = _resolved(task, data, config, None, stored).num_folds
    if num_folds == 1:
        raise TaskError(f"task {task} has one test split and no folds; leave --fold out, or give --protocol made")
    folds = [_resolved(task, data, config, fold, stored) for fold in range(num_folds)]
    name, primary = folds[0].name, folds[0].protocol.primary
    tested = {(item.path, item.box, item.span): item.group for found in folds for item in found.split("test")}
    scored = [
        run_evaluate(job, checkpoint=checkpoint, task=task, data=data, encoder=encoder, config=replace(config, fold=fold))
        for fold in range(num_folds)
    ]
    told: dict[str, Any] = {"classes": folds[0].classes, "num_bootstrap": config.num_bootstrap, "seed": config.seed}
    pooled = pooled_values(scored, job.lake.root, **told)
    rows = rotation_rows(scored, num_items=len(tested), num_groups=len(set(tested.values())), pooled=pooled)
    told_of = config.identity(has_clips=folds[0].has_clips)
    settings = {setting: value for setting, value in told_of.items() if setting not in ("num_workers", "device")}
    _, model = scored_model(job.lake, checkpoint, allow_download=encoder.allow_download)
    inputs = [model, *(artifact_of(score) for scores in scored for score in scores)]
    plan = plan_run(stage="evaluate", version=STAGE_VERSION, config={**settings, "task": name}, inputs=inputs, seed=config.seed)
    if run_id := completed_run_id(job.lake, plan):
        rows = scores_of(job.lake, run_id)
    else:
        with job.record(plan) as run:
            run.rows("scores", rows)
            run.output(*map(artifact_of, rows))
    for row in rows:
        if row.metric in (*HEADLINES, primary):
            together = f"{shown_value(row)} of all predictions, " if "fold_predictions" in row.details else ""
            spread = f"{row.details['mean']} ± {row.details['sd']}"
            say(f"evaluate: {row.task} {row.head} {row.metric} {together}{spread} over {num_folds} folds {row.model}")
    return rows


def _resolved(task: str, data: Path, config: EvaluateConfig, fold: int | None, stored: SplitStore) -> TaskData:
    return configured_task(task, data, config, fold=fold, stored=stored)
