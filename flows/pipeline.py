"""The Prefect flows: few coarse tasks, each idempotent by its stage key, so a retry or a rerun repeats nothing that was committed.

`run_flow` is one command's whole way; `nightly_flow` and `weekly_flow` are the scheduled halves in prefect.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import prefect.runtime.flow_run
from prefect import Task, flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from curation.config import EmbedConfig, IngestConfig
from curation.curate_config import CurateConfig, HoldoutConfig
from curation.device_config import DeviceConfig, requalify_config
from evaluation.config import EvaluateConfig
from flows.curate import run_curate
from flows.embed import run_embed
from flows.evaluate import run_evaluate
from flows.ingest import run_ingest
from flows.job import Job
from flows.pretrain import run_pretrain
from flows.report import run_report
from flows.requalify import run_requalify
from flows.runners import RunnerName, make_runner
from pretrain.config import PretrainConfig
from pretrain.recipes import recipe as recipe_named
from warehouse.lake import open_lake
from warehouse.queries import funnel_rows, latest_dataset
from warehouse.summary import scores_of_pretraining

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["nightly_flow", "run_flow", "weekly_flow"]


def _worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Retry what may pass by itself (a full disk being emptied, a lost worker); a wrong setting stays wrong."""
    try:
        state.result()
    except (ValueError, TypeError, FileNotFoundError):
        return False
    except Exception:
        return True
    return False


def _stage(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A Prefect task that is retried twice; the stage keys, not Prefect's cache, know what is done."""
    return task(name=name, retries=2, retry_delay_seconds=[5.0, 60.0], retry_condition_fn=_worth_retrying, cache_policy=NO_CACHE)


@contextmanager
def _job(lake: str, runner: RunnerName, workers: int | None) -> Iterator[Job]:
    with open_lake(lake, create=True) as opened:
        yield Job(lake=opened, runner=make_runner(runner, workers), prefect_flow_run_id=prefect.runtime.flow_run.id)


@_stage("ingest")
def ingest_task(videos: list[str], lake: str, config: IngestConfig, devices: DeviceConfig, runner: RunnerName, workers: int | None) -> None:
    """Videos to frames, by their devices' percentiles where these are asked for; the funnel becomes an artifact."""
    with _job(lake, runner, workers) as job:
        run_ingest(job, videos, config=config)
        if by_device := requalify_config(devices, config):
            run_requalify(job, config=by_device)
        rows = funnel_rows(job.lake)
    create_table_artifact(key="frame-funnel", table=rows, description=f"Frames of {lake}")


@_stage("embed")
def embed_task(lake: str, config: EmbedConfig, runner: RunnerName, workers: int | None) -> str:
    """Frames to vectors; returns the encoder's id."""
    with _job(lake, runner, workers) as job:
        return run_embed(job, config=config)


@_stage("curate")
def curate_task(lake: str, name: str, encoder_id: str, config: CurateConfig, runner: RunnerName, workers: int | None) -> str:
    """Vectors to a dataset; returns its name."""
    with _job(lake, runner, workers) as job:
        return run_curate(job, name=name, encoder_id=encoder_id, config=config).name


@_stage("pretrain")
def pretrain_task(
    lake: str, dataset: str, config: PretrainConfig, validation: str | None, validation_task: str, workers: int, runner: RunnerName
) -> str:
    """A dataset to checkpoints; returns the run's id."""
    with _job(lake, runner, None) as job:
        chosen_by = (validation_task, Path(validation)) if validation else None
        return run_pretrain(job, dataset=dataset, config=config, validation=chosen_by, num_workers=workers).run_id


@_stage("evaluate")
def evaluate_task(
    lake: str, checkpoint: str, tasks: list[tuple[str, str]], encoder: EmbedConfig, runner: RunnerName, workers: int | None
) -> None:
    """A checkpoint to scores on (task, data folder) pairs."""
    with _job(lake, runner, workers) as job, job.runner.reuse_workers():
        for name, data in tasks:
            run_evaluate(job, checkpoint=checkpoint, task=name, data=Path(data), encoder=encoder, config=EvaluateConfig())


@_stage("report")
def report_task(lake: str, run_id: str) -> str:
    """The lake and a run to one HTML file; returns its path. Scores and a link to the file become artifacts."""
    with _job(lake, "serial", None) as job:
        path = run_report(job, run_id=run_id, out=None)
        scores = scores_of_pretraining(job.lake, run_id)
    columns = ("task", "head", "metric", "model", "value", "ci_low", "ci_high", "num_items", "num_groups")
    rows = [{name: getattr(score, name) for name in columns} for score in scores]
    create_table_artifact(key="scores", table=rows, description=f"Scores of {run_id}")
    create_link_artifact(key="report", link=path.as_uri(), link_text="report")
    return str(path)


@flow(name="endoforge-run", log_prints=False)
def run_flow(
    videos: list[str],
    lake: str,
    size: int,
    recipe: str,
    name: str = "curated",
    validation: str | None = None,
    validation_task: str = "auto",
    evaluations: list[tuple[str, str]] | None = None,
    ingest: IngestConfig | None = None,
    devices: DeviceConfig | None = None,
    embed: EmbedConfig | None = None,
    holdout: HoldoutConfig | None = None,
    runner: RunnerName = "processes",
    workers: int | None = None,
    train_workers: int = 1,
) -> str:
    """Videos to a scored model; returns the path of the report.

    `evaluations` are (task, data folder) pairs; the validation data is scored on its test split where none are given.
    """
    embed = embed or EmbedConfig()
    config = recipe_named(recipe)  # an unknown recipe must fail before the first video is decoded
    ingest_task(videos, lake, ingest or IngestConfig(), devices or DeviceConfig(), runner, workers)
    encoder_id = embed_task(lake, embed, runner, workers)
    dataset = curate_task(lake, name, encoder_id, CurateConfig(size=size, holdout=holdout or HoldoutConfig()), runner, workers)
    run_id = pretrain_task(lake, dataset, config, validation, validation_task, train_workers, runner)
    if evaluations is None and validation is not None:
        evaluations = [(validation_task, validation)]
    if evaluations:
        evaluate_task(lake, run_id, evaluations, embed, runner, workers)
    return report_task(lake, run_id)


@flow(name="endoforge-nightly", log_prints=False)
def nightly_flow(
    videos: list[str],
    lake: str,
    size: int,
    name: str = "nightly",
    holdout: list[str] | None = None,
    devices: DeviceConfig | None = None,
    runner: RunnerName = "processes",
    workers: int | None = None,
) -> str:
    """Take in what is new and curate again, without what `holdout` names (see `HoldoutConfig`) and what `devices` drop (`DeviceConfig`).

    Returns the dataset's name, `name` with the start of the selection's id.
    """
    config = CurateConfig(size=size, holdout=HoldoutConfig(holdout=tuple(holdout or ())))
    ingest_task(videos, lake, IngestConfig(), devices or DeviceConfig(), runner, workers)
    encoder_id = embed_task(lake, EmbedConfig(), runner, workers)
    return curate_task(lake, f"{name}-{{selection}}", encoder_id, config, runner, workers)


@flow(name="endoforge-weekly", log_prints=False)
def weekly_flow(
    lake: str,
    recipe: str,
    name: str = "nightly",
    validation: str | None = None,
    validation_task: str = "auto",
    runner: RunnerName = "processes",
    workers: int | None = None,
    train_workers: int = 1,
) -> str:
    """Pretrain on the newest dataset whose name starts with `name`, score it and report; returns the report's path."""
    with open_lake(lake) as opened:
        dataset = latest_dataset(opened, name)
    run_id = pretrain_task(lake, dataset, recipe_named(recipe), validation, validation_task, train_workers, runner)
    if validation is not None:
        evaluate_task(lake, run_id, [(validation_task, validation)], EmbedConfig(), runner, workers)
    return report_task(lake, run_id)
