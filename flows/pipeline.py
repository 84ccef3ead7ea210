"""The Prefect flows: few coarse tasks, each idempotent by its stage keys, so a retry or a rerun repeats nothing that was committed.

`run_flow` is one command's whole way; `nightly_flow` and `weekly_flow` are the scheduled halves in prefect.yaml. Each goes through its
stages in the order of `flows.stages.STAGES`, with one task for the stages of one command.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import prefect.runtime.flow_run
from prefect import Task, flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.config import RunConfig
from flows.job import Job
from flows.parameters import takes
from flows.runners import make_runner
from flows.stages import STAGES, Made, check_stages, run_curation, run_stages, stages_of
from warehouse.dataset_queries import latest_dataset
from warehouse.lake import open_lake
from warehouse.queries import funnel_rows
from warehouse.summary import scores_of_pretraining

__all__ = ["nightly_flow", "run_flow", "weekly_flow"]

ALL = tuple(dict.fromkeys(stage.command for stage in STAGES))
NIGHTLY = ALL[: ALL.index("curate") + 1]
WEEKLY = ALL[len(NIGHTLY) :]
SCORE_COLUMNS = ("task", "head", "metric", "model", "value", "ci_low", "ci_high", "num_items", "num_groups")


def _worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Retry what may pass by itself (a full disk being emptied, a lost worker); a wrong setting stays wrong."""
    try:
        state.result()
    except (ValueError, TypeError, FileNotFoundError):
        return False
    except Exception:
        return True
    return False


def _task(command: str) -> Task[[RunConfig, Made], Made]:
    """What a command does, retried twice; the stage keys, not Prefect's cache, know what is done."""

    @task(name=command, retries=2, retry_delay_seconds=[5.0, 60.0], retry_condition_fn=_worth_retrying, cache_policy=NO_CACHE)
    def work(config: RunConfig, made: Made) -> Made:
        runner = make_runner("serial" if command == "report" else config.runner, config.workers)
        with open_lake(config.lake, create=True) as lake:
            job = Job(lake=lake, runner=runner, prefect_flow_run_id=prefect.runtime.flow_run.id)
            made = run_curation(job, config, made) if command == "curate" else run_stages(stages_of(command), job, config, made)
            _publish(job, command, made)
        return made

    return work


TASKS = {command: _task(command) for command in ALL}


def _publish(job: Job, command: str, made: Made) -> None:
    """Make Prefect artifacts of the funnel of frames, the scores and the report."""
    if command == "ingest":
        create_table_artifact(key="frame-funnel", table=funnel_rows(job.lake), description=f"Frames of {job.lake.root}")
    if command == "report" and made.report:
        scores = scores_of_pretraining(job.lake, made.pretraining)
        rows = [{name: getattr(score, name) for name in SCORE_COLUMNS} for score in scores]
        create_table_artifact(key="scores", table=rows, description=f"Scores of {made.pretraining}")
        create_link_artifact(key="report", link=made.report.as_uri(), link_text="report")


def _parameters(commands: tuple[str, ...]) -> list[str]:
    """Names of the settings that these commands' stages take."""
    return ["lake", "runner", "workers", *(name for stage in stages_of(*commands) for name in stage.takes)]


def _go(commands: tuple[str, ...], config: RunConfig, made: Made) -> Made:
    for command in commands:
        if any(stage.is_wanted(config) for stage in stages_of(command)):
            made = TASKS[command](config, made)
    return made


@flow(name="endoforge-run", log_prints=False)
@takes(_parameters(ALL))
def run_flow(config: RunConfig) -> str:
    """Videos to a scored model; returns the path of the report."""
    check_stages(stages_of(*ALL), config)
    return str(_go(ALL, config, Made()).report)


@flow(name="endoforge-nightly", log_prints=False)
@takes(_parameters(NIGHTLY), name="nightly")
def nightly_flow(config: RunConfig) -> str:
    """Take in what is new and curate again; returns the dataset's name, `name` with the start of the selection's id."""
    config = replace(config, name=f"{config.name}-{{selection}}")
    check_stages(stages_of(*NIGHTLY), config)
    return _go(NIGHTLY, config, Made()).dataset


@flow(name="endoforge-weekly", log_prints=False)
@takes(_parameters(WEEKLY), name="nightly")
def weekly_flow(config: RunConfig) -> str:
    """Pretrain on the newest dataset whose name starts with `name`, score it and report; returns the report's path."""
    check_stages(stages_of(*WEEKLY), config)
    with open_lake(config.lake) as lake:
        dataset = latest_dataset(lake, config.name)
    return str(_go(WEEKLY, config, Made(dataset=dataset)).report)
