"""The Prefect flows: few coarse tasks, each idempotent by its stage key, so a retry or a rerun repeats nothing that was committed.

`run_flow` is one command's whole way; `nightly_flow` and `weekly_flow` are the scheduled halves in prefect.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import prefect.runtime.flow_run
from prefect import Task, flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from curation.clustering import ClusterConfig
from curation.config import CurateConfig
from curation.dedup import DedupConfig
from curation.embedding import EmbedConfig
from curation.holdout import HoldoutConfig
from curation.ingest import DeviceConfig, IngestConfig, requalify_config
from curation.selection import SampleConfig
from curation.shards import ShardConfig
from evaluation.config import EvaluateConfig
from flows.job import Job
from flows.parameters import changed_recipe
from flows.runners import RunnerName, make_runner, say
from flows.stages import (
    NothingIngestedError,
    check_count,
    check_dataset_names,
    check_encoder,
    check_held_out,
    check_inputs,
    check_new_folder,
    check_task,
    check_training,
    run_curate,
    run_embed,
    run_evaluate,
    run_ingest,
    run_pretrain,
    run_report,
    run_requalify,
)
from pretrain.config import PretrainConfig
from warehouse.lake import open_lake
from warehouse.queries import funnel_rows, has_kept_frames, latest_dataset
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
    """Videos to frames, by their devices' percentiles where these are asked for; the funnel becomes an artifact.

    Raises:
        NothingIngestedError: all files were rejected, and the lake holds no frame from before to go on with.
    """
    with _job(lake, runner, workers) as job:
        why_nothing = run_ingest(job, videos, config=config).why_nothing
        if why_nothing is not None:
            if not has_kept_frames(job.lake):
                raise NothingIngestedError(why_nothing)
            say("going on with the frames from before")
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
    lake: str,
    checkpoint: str,
    tasks: list[tuple[str, str]],
    encoder: EmbedConfig,
    config: EvaluateConfig,
    runner: RunnerName,
    workers: int | None,
) -> None:
    """A checkpoint to scores on (task, data folder) pairs."""
    with _job(lake, runner, workers) as job, job.runner.reuse_workers():
        for name, data in tasks:
            run_evaluate(job, checkpoint=checkpoint, task=name, data=Path(data), encoder=encoder, config=config)


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
    config = changed_recipe(recipe, None)
    curate = CurateConfig(size=size, holdout=holdout or HoldoutConfig())
    _check_curation(videos, lake, name, embed, curate, workers)
    tasks = _check_evaluations(validation_task, validation, evaluations)
    check_training(runner=runner, train_workers=train_workers, batch_size=config.train.batch_size, size=size)
    ingest_task(videos, lake, ingest or IngestConfig(), devices or DeviceConfig(), runner, workers)
    encoder_id = embed_task(lake, embed, runner, workers)
    dataset = curate_task(lake, name, encoder_id, curate, runner, workers)
    run_id = pretrain_task(lake, dataset, config, validation, validation_task, train_workers, runner)
    if tasks:
        evaluate_task(lake, run_id, tasks, embed, EvaluateConfig(), runner, workers)
    return report_task(lake, run_id)


@flow(name="endoforge-nightly", log_prints=False)
def nightly_flow(
    videos: list[str],
    lake: str,
    size: int,
    name: str = "nightly",
    ingest: IngestConfig | None = None,
    devices: DeviceConfig | None = None,
    embed: EmbedConfig | None = None,
    nested: list[int] | None = None,
    holdout: list[str] | HoldoutConfig | None = None,
    dedup: DedupConfig | None = None,
    cluster: ClusterConfig | None = None,
    sample: SampleConfig | None = None,
    shard: ShardConfig | None = None,
    seed: int = 0,
    runner: RunnerName = "processes",
    workers: int | None = None,
) -> str:
    """Take in what is new and curate again; returns the dataset's name, `name` with the start of the selection's id.

    Args:
        videos: files, folders, globs, URIs or manifests.
        lake: folder of the lake; made if missing.
        size: images to curate; all candidates where there are fewer.
        name: start of the dataset's name.
        ingest: settings of `endoforge ingest`; on a schedule set `settle_s` to a minute.
        devices: percentiles of each device by which filters are tightened.
        embed: settings of `endoforge embed`.
        nested: sizes of further datasets within this one.
        holdout: paths that are never learned from, alone or with the settings of the search for copies.
        dedup: settings of deduplication.
        cluster: settings of clustering.
        sample: caps, weights and the order within clusters.
        shard: settings of the tars.
        seed: every random draw follows from it.
        runner: serial, processes or ray.
        workers: worker processes; as many as there are cores unless given.
    """
    config = CurateConfig(
        size=size,
        nested=tuple(nested or ()),
        holdout=HoldoutConfig(holdout=tuple(holdout)) if isinstance(holdout, list) else holdout or HoldoutConfig(),
        dedup=dedup or DedupConfig(),
        cluster=cluster or ClusterConfig(),
        sample=sample or SampleConfig(),
        shard=shard or ShardConfig(),
        seed=seed,
    )
    embed = embed or EmbedConfig()
    name = f"{name}-{{selection}}"
    _check_curation(videos, lake, name, embed, config, workers)
    ingest_task(videos, lake, ingest or IngestConfig(), devices or DeviceConfig(), runner, workers)
    encoder_id = embed_task(lake, embed, runner, workers)
    return curate_task(lake, name, encoder_id, config, runner, workers)


@flow(name="endoforge-weekly", log_prints=False)
def weekly_flow(
    lake: str,
    recipe: str,
    name: str = "nightly",
    pretrain: dict[str, Any] | None = None,
    validation: str | None = None,
    validation_task: str = "auto",
    evaluations: list[tuple[str, str]] | None = None,
    evaluate: EvaluateConfig | None = None,
    embed: EmbedConfig | None = None,
    runner: RunnerName = "processes",
    workers: int | None = None,
    train_workers: int = 1,
) -> str:
    """Pretrain on the newest dataset whose name starts with `name`, score it and report; returns the report's path.

    Args:
        lake: folder of the lake.
        recipe: demo, smoke, vits14, vitb14, vitl14 or vitg14.
        name: start of the datasets' names.
        pretrain: values that replace the recipe's, such as `{"train": {"num_steps": 1000}}`.
        validation: labelled folder by which checkpoints are chosen.
        validation_task: task that `validation` is for.
        evaluations: (task, data folder) pairs to score on; the validation data's test split where none are given.
        evaluate: settings of `endoforge evaluate`.
        embed: the encoder to compare with.
        runner: serial, processes or ray.
        workers: worker processes; as many as there are cores unless given.
        train_workers: training processes, one a GPU or one on a CPU.
    """
    config = changed_recipe(recipe, pretrain)
    embed = embed or EmbedConfig()
    check_count("workers", workers)
    check_training(runner=runner, train_workers=train_workers, batch_size=config.train.batch_size)
    check_encoder(embed)
    tasks = _check_evaluations(validation_task, validation, evaluations)
    with open_lake(lake) as opened:
        dataset = latest_dataset(opened, name)
    run_id = pretrain_task(lake, dataset, config, validation, validation_task, train_workers, runner)
    if tasks:
        evaluate_task(lake, run_id, tasks, embed, evaluate or EvaluateConfig(), runner, workers)
    return report_task(lake, run_id)


def _check_curation(videos: Sequence[str], lake: str, name: str, embed: EmbedConfig, config: CurateConfig, workers: int | None) -> None:
    """Refuse parameters with which ingest, embedding or curation would fail, before the first video is decoded.

    Raises:
        ValueError: a name, number or table is wrong.
        OSError: a file or folder is missing or cannot be used.
    """
    check_count("workers", workers)
    check_dataset_names(name, config)
    check_new_folder(Path(lake), "lake")
    check_inputs(videos)
    check_held_out(config.holdout)
    check_encoder(embed)


def _check_evaluations(validation_task: str, validation: str | None, evaluations: list[tuple[str, str]] | None) -> list[tuple[str, str]]:
    """The (task, data folder) pairs to score on: the validation data where none are given.

    Raises:
        ValueError: a task is not known, or its data is missing or unusable.
    """
    check_task(validation_task, Path(validation) if validation is not None else None)
    if evaluations is None:
        return [] if validation is None else [(validation_task, validation)]
    for name, data in evaluations:
        check_task(name, Path(data))
    return evaluations
