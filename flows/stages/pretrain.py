"""Stage run: a dataset to checkpoints, the best of them chosen by a downstream score."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from evaluation.tasks import Fingerprint, SplitStore, TaskData, TaskError, readable_task
from evaluation.validate import CHOSEN_BY_VIEWS, checkpoint_scores
from evaluation.validation_tasks import Validation, ValidationTask, check_choice, read_labelled
from flows.job import Job
from flows.runners import is_local, ray_job_id, say, start_ray, track_steps
from flows.stages.clip_validation import clip_checkpoint_scores
from pretrain.batches import check_kind
from pretrain.checkpoint import whole_checkpoints
from pretrain.config import PretrainConfig
from pretrain.energy import EnergyMeter
from pretrain.identity import learning_settings
from pretrain.init_source import InitSource
from pretrain.init_weights import fit_init
from pretrain.initial import give_initial, has_initial
from pretrain.launch import PRETRAIN_VERSION, pretrain
from pretrain.metrics import read_metrics
from pretrain.objective import batch_advice
from pretrain.start import Start, give_start
from pretrain.video.fixed_views import FixedClipViews
from pretrain.views import FixedViews
from warehouse.artifacts import artifact_of
from warehouse.dataset_queries import dataset_named
from warehouse.lineage import RunPlan, completed_run_id, plan_run
from warehouse.queries import best_checkpoint
from warehouse.records import Artifact, Checkpoint, Dataset
from warehouse.store import canonical_json, read_json

__all__ = ["init_artifacts", "plan_pretrain", "run_pretrain", "split_artifacts", "task_artifact"]

WITHOUT_LABELS = Validation()
"""Checkpoints are chosen by views of the run's own images."""


def run_pretrain(
    job: Job,
    *,
    dataset: str,
    config: PretrainConfig,
    validation: Validation,
    num_workers: int,
    min_workers: int | None = None,
    start: Start | None = None,
    init: InitSource | None = None,
) -> Checkpoint:
    """Train on a dataset of the lake and return the checkpoint with the best downstream score.

    Args:
        job: the lake that holds the dataset and gets the run.
        dataset: its name.
        config: a whole recipe.
        validation: labelled sets that checkpoints are scored on (their train and val splits); without any, two views of each of some
            images of the dataset are matched, which needs no labels.
        num_workers: training processes; the result's identity does not depend on it.
        min_workers: the fewest with which training goes on when machines are lost.
        start: checkpoint of another run to start from, an input of this one; random weights if not given.
        init: trained weights to start from, with a new optimiser and from step 0; an input too, by the hash of their file.
    """
    found = dataset_named(job.lake, dataset)
    described = read_json(job.lake.root / found.path / "dataset.json")
    check_kind(described.get("kind", "images"), config, where=f"the dataset {dataset}")
    inputs = [artifact_of(found)]
    splits = job.lake.root.absolute() / "splits"
    validation = replace(validation, tasks=tuple(replace(one, splits=splits) for one in validation.tasks))
    tasks = [_readable(one) for one in validation.tasks]
    check_choice(validation, [task.name for task, _ in tasks])
    for task, _ in tasks:
        for image in task.unreadable:
            say(f"pretrain: validation on {task.name} leaves out an unreadable image: {image}")
    labelled = [task_artifact(task, identity) for task, identity in tasks]
    inputs += labelled
    if start is not None:
        uri = start.backbone.relative_to(job.lake.root).as_posix()
        inputs.append(Artifact(artifact_id=start.checkpoint_id, kind="checkpoint", uri=uri, sha256=start.checkpoint_id))
    if init is not None:
        inputs += init_artifacts(init, job.lake.root)
    plan = plan_pretrain(config, inputs, validation, labelled)
    if run_id := completed_run_id(job.lake, plan):
        say(f"pretrain: {run_id} is finished already")
        return best_checkpoint(job.lake, run_id)
    if not tasks:
        item = "an image" if config.video is None else "a clip"
        say(f"pretrain: no --validation given: checkpoints are chosen by how well two views of {item} find each other")
    if advice := batch_advice(config):
        say(f"pretrain: {advice}")
    run_dir = job.lake.root / "runs" / plan.run_id
    fitted = None if init is None or has_initial(run_dir) else fit_init(init, config)
    if fitted is not None:
        say(f"pretrain: {fitted.report.sentence()}")
    backend = _backend(job, config, num_workers)
    with job.record(plan) as run:
        try:
            if backend == "ray":
                start_ray()
            if start is not None:
                give_start(run_dir, start)
            if fitted is not None:
                give_initial(run_dir, fitted)
            energy_from = max([saved.step for saved in whole_checkpoints(run_dir)], default=start.step if start else 0)
            with track_steps("pretrain", item="image" if config.video is None else "clip") as progress, EnergyMeter() as energy:
                result = pretrain(
                    config,
                    dataset_dir=job.lake.root / found.path,
                    run_dir=run_dir,
                    run_id=plan.run_id,
                    validate=_validator(job, found, validation, config),
                    num_workers=num_workers,
                    min_workers=min_workers,
                    use_gpu=torch.cuda.is_available(),
                    backend=backend,
                    on_one_machine=is_local(),
                    lake_root=job.lake.root,
                    progress=progress,
                )
        finally:
            run.ray_job_id = ray_job_id() if backend == "ray" else None
        run.rows("checkpoints", result.checkpoints)
        run.rows("train_metrics", [{"step": step, "name": name, "value": value} for step, name, value in read_metrics(result.metrics_path)])
        run.output(*(artifact_of(item) for item in result.checkpoints))
        num_gpus = num_workers if torch.cuda.is_available() else 0
        run.metrics.update(num_steps=result.num_steps, num_workers=num_workers, num_gpus=num_gpus)
        if is_local() and (joules := energy.read()):  # else workers are on machines that were not measured
            run.metrics.update(energy_from_step=energy_from, **{f"energy_{kind}_j": value for kind, value in joules.items()})
    best = best_checkpoint(job.lake, plan.run_id)
    say(f"pretrain: step {best.step} has the best {best.validation_metric}, {best.validation_score:.3f}: {job.lake.root / best.path}")
    if best.step == 0:
        say("pretrain: that is what the run started from: no later checkpoint was better, so the continuation taught nothing for this task")
    return best


def _backend(job: Job, config: PretrainConfig, num_workers: int) -> Literal["local", "ray"]:
    """A single worker on this machine's CPUs trains without Ray, which would have to start and stop, to the same bits."""
    if job.runner.name != "processes":
        return "local" if job.runner.name == "serial" else "ray"
    needs_ray = num_workers > 1 or torch.cuda.is_available() or config.checkpoint.validate == "beside" or not is_local()
    return "ray" if needs_ray else "local"


def init_artifacts(init: InitSource, lake_root: Path) -> list[Artifact]:
    """Trained weights as the lineage names them: by content, so that another path or name is the same run."""
    is_own = init.heads is not None
    found = []
    for path, sha256 in zip((init.weights, init.heads), init.sha256().values(), strict=False):
        assert path is not None
        within = path.absolute().is_relative_to(lake_root.absolute())
        uri = path.absolute().relative_to(lake_root.absolute()).as_posix() if within else path.absolute().as_uri()
        uri = uri if Path(init.told).expanduser().exists() or within else init.told
        kind = "checkpoint" if is_own and path == init.weights else "weights"
        folder = kind == "checkpoint"
        found.append(
            Artifact(
                artifact_id=sha256, kind=kind, uri=uri.rpartition("/")[0] if folder else uri, sha256=sha256, num_bytes=path.stat().st_size
            )
        )
    return found


def plan_pretrain(
    config: PretrainConfig, inputs: Sequence[Artifact], validation: Validation = WITHOUT_LABELS, labelled: Sequence[Artifact] = ()
) -> RunPlan:
    """Name a run by its learning settings, inputs and choice; the settings of the machine are recorded, and may change.

    With one validation task the choice follows from the inputs. Of several, their order means nothing, and weights count by their ratio.

    Args:
        config: whole recipe.
        inputs: what the run is made from.
        validation: what chooses.
        labelled: the artifacts of its tasks, in their order.
    """
    chosen: dict[str, Any] = {}
    if not validation.tasks:
        chosen = {"choice": {"metric": CHOSEN_BY_VIEWS}}
    elif len(validation.tasks) > 1:
        total = sum(one.weight for one in validation.tasks)
        shares = [[artifact.artifact_id, round(one.weight / total, 9)] for one, artifact in zip(validation.tasks, labelled, strict=True)]
        chosen = {"choice": {"chosen_by": validation.chosen_by} if validation.chosen_by else {"shares": sorted(shares)}}
    settings = learning_settings(config) | chosen
    plan = plan_run(stage="pretrain", version=PRETRAIN_VERSION, config=settings, inputs=inputs, seed=config.train.seed)
    return replace(plan, config=canonical_json(config))


def _readable(one: ValidationTask) -> tuple[TaskData, Fingerprint]:
    """A validation set without the images that cannot be read; the limit has another name here than in an evaluation."""
    found = read_labelled(one)
    try:
        return readable_task(found, max_unreadable=one.max_unreadable)
    except TaskError as error:
        raise TaskError(str(error).replace("--max-unreadable", "--validation-max-unreadable")) from error


def _validator(
    job: Job, dataset: Dataset, validation: Validation, config: PretrainConfig
) -> Callable[[str], tuple[str, float, dict[str, float]]]:
    tasks = tuple(replace(one, data=one.data.absolute()) for one in validation.tasks)
    if config.video is not None:
        clips = FixedClipViews(dataset_dir=job.lake.root.absolute() / dataset.path, config=config)
        return functools.partial(clip_checkpoint_scores, views=clips, tasks=tasks, chosen_by=validation.chosen_by)
    views = FixedViews(
        dataset_dir=job.lake.root.absolute() / dataset.path,
        augment=config.augment,
        image_size=config.model.img_size,
        shards=config.data.shards,
    )
    return functools.partial(checkpoint_scores, views=views, tasks=tasks, chosen_by=validation.chosen_by)


def task_artifact(task: TaskData, identity: Fingerprint) -> Artifact:
    """An evaluation set as the lineage names it."""
    return Artifact(artifact_id=identity.data_id, kind="task", uri=task.name, sha256=identity.data_id, num_rows=len(task.items))


def split_artifacts(stored: SplitStore, lake_root: Path) -> list[Artifact]:
    """The made splits that were read or written, as the lineage names them."""
    found = {one.path: one for one in stored.used}
    return [
        Artifact(
            artifact_id=sha256,
            kind="splits",
            uri=path.relative_to(lake_root).as_posix(),
            sha256=sha256,
            num_bytes=path.stat().st_size,
            num_rows=len(one.parts),
        )
        for path, one in found.items()
        for sha256 in (one.sha256,)
    ]
