"""Stage run: another run from the newest checkpoint of a pretraining run, with some settings changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from evaluation.validate import CHOSEN_BY_VIEWS
from evaluation.validation_tasks import Validation
from flows.job import Job
from flows.runners import say
from flows.stages.pretrain import run_pretrain
from flows.stages.trained_run import find_run
from pretrain.checkpoint import whole_checkpoints
from pretrain.config import PretrainConfig
from pretrain.start import find_start, start_of_unfinished
from warehouse.records import Checkpoint

__all__ = ["changed_settings", "run_resume"]

_SHAPING = ("model", "dino_head", "ibot_head")
_NOT_SHAPING = ("model.drop_path_rate", "model.activation_checkpointing", "dino_head.norm_last_layer", "ibot_head.norm_last_layer")
_FRAMES = ("video.num_frames", "video.num_registers", "video.mlp_ratio", "video.global_frames", "video.local_frames")


def run_resume(
    job: Job, *, run_id: str, changes: Sequence[str], validation: Validation, num_workers: int, min_workers: int | None = None
) -> Checkpoint:
    """Start a run from the newest checkpoint of another, and return its best checkpoint.

    The new run has the other's dataset and settings, except those that are changed. In the lineage its inputs are the dataset and that
    checkpoint. Schedules are those of the new settings, from the checkpoint's step on. A run that began so and was interrupted goes on,
    even if the other one has a newer checkpoint by now.

    Args:
        job: the lake that holds both runs.
        run_id: of the other run, finished or not.
        changes: `field=value`, such as train.num_steps=200000.
        validation: as in `run_pretrain`.
        num_workers: training processes.
        min_workers: the fewest with which training goes on when machines are lost.

    Raises:
        ValueError: there is no such run, it has no checkpoint, or a change cannot be made.
    """
    run = find_run(job.lake, run_id, purpose="resume")
    config = changed_settings(run.settings, changes)
    unfinished = start_of_unfinished(run.run_dir, config)
    start = unfinished[1] if unfinished else find_start(run.run_dir)
    if start.step >= config.train.num_steps:
        raise ValueError(
            f"{run_id} is at step {start.step} and num_steps is {config.train.num_steps}; "
            f"give --set train.num_steps=N with N above {start.step}"
        )
    chosen = {saved.validation_metric for saved in whole_checkpoints(run.run_dir)} - {"step", CHOSEN_BY_VIEWS}
    if chosen and not validation.tasks:
        say(
            f"pretrain: {run_id} chose its checkpoints by {', '.join(sorted(chosen))}, and this run has no labels: two views of an image "
            "choose, and no guard stops it; give --validation to go on as before"
        )
    goes_on = f", as {unfinished[0]} began, which goes on" if unfinished else ""
    say(f"pretrain: from step {start.step} of {run_id} with {', '.join(changes) or 'the same settings'}{goes_on}")
    workers = {"num_workers": num_workers, "min_workers": min_workers}
    return run_pretrain(job, dataset=run.dataset, config=config, validation=validation, start=start, **workers)  # type: ignore[arg-type]


def changed_settings(values: dict[str, Any], changes: Sequence[str]) -> PretrainConfig:
    """The settings of a run with some changed.

    Args:
        values: what its config.json has under `config`.
        changes: `section.field=value`, the value as in JSON.

    Raises:
        ValueError: a change has another form, names no setting, gives a value out of range, or would change the shape of a weight.
    """
    from flows.parameters import changed_config

    nested: dict[str, dict[str, Any]] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        section, dot, setting = name.partition(".")
        if not (equals and dot):
            raise ValueError(f"--set {change!r} is not of the form section.field=value; give one such as optim.base_lr=0.001")
        if section in _SHAPING and name not in _NOT_SHAPING:
            raise ValueError(f"--set {name} would change the shape of weights, which a checkpoint cannot follow; start a new run for it")
        if name in _FRAMES:
            raise ValueError(
                f"--set {name} would change the frames or shape of a video network, which its checkpoint was trained with; start a new run"
            )
        nested.setdefault(section, {})[setting] = _parsed(value)
    return changed_config("the run", values, nested)


def _parsed(value: str) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value
