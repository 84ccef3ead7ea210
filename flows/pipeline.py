"""The Prefect flows: few coarse tasks, each idempotent by its stage keys, so a retry or a rerun repeats nothing that was committed.

`run_flow` is one command's whole way; `nightly_flow` and `weekly_flow` are the scheduled halves in prefect.yaml. Each goes through its
stages in the order of `flows.stages.STAGES`, with one task for the stages of one command.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import prefect.runtime.flow_run
from prefect import Task, flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows.after_fork import let_forks_end_well
from flows.config import RunConfig
from flows.job import Job
from flows.outcome import reported
from flows.parameters import takes
from flows.runners import make_runner, say, told_to
from flows.stages import STAGES, AlertsRaisedError, Check, Made, check_stages, run_alerts, run_curation, run_maintain, run_stages, stages_of
from warehouse.dataset_queries import latest_dataset
from warehouse.lake import open_lake
from warehouse.private_files import kept_private
from warehouse.queries import funnel_rows
from warehouse.summary import scores_of_pretraining

__all__ = ["nightly_flow", "run_flow", "weekly_flow"]

ALL = tuple(dict.fromkeys(stage.command for stage in STAGES))
NIGHTLY = ALL[: ALL.index("curate") + 1]
WEEKLY = ALL[len(NIGHTLY) :]
REPORTS = ("summary", "metrics_file")
"""Settings of scheduled flows; what comes of `endoforge run` is written by the command line."""
SCORE_COLUMNS = ("task", "head", "metric", "model", "value", "ci_low", "ci_high", "num_items", "num_groups")


let_forks_end_well()


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
        with _said_in_prefect(), open_lake(config.lake, create=True) as lake:
            job = Job(lake=lake, runner=runner, prefect_flow_run_id=prefect.runtime.flow_run.id)
            made = run_curation(job, config, made) if command == "curate" else run_stages(stages_of(command), job, config, made)
            _publish(job, command, config, made)
        return made

    return work


TASKS = {command: _task(command) for command in ALL}


@task(name="alerts", cache_policy=NO_CACHE)
def alerts_task(config: RunConfig) -> None:
    """Compare the lake with thresholds, show each check, and fail if one is passed."""
    with _said_in_prefect(), open_lake(config.lake, read_only=True) as lake:
        checks = run_alerts(lake, config.alerts)
    rows = [
        {"check": check.name, "state": check.state, "value": check.value, "limit": check.limit, "found": check.found} for check in checks
    ]
    create_table_artifact(key="alerts", table=rows, description=f"Checks of {config.lake}")
    _raise_alerts(checks)


def _raise_alerts(checks: tuple[Check, ...]) -> None:
    if raised := tuple(check for check in checks if check.state == "alert"):
        raise AlertsRaisedError(raised)


@task(name="maintain", retries=1, retry_delay_seconds=60, cache_policy=NO_CACHE)
def maintain_task(config: RunConfig) -> None:
    """Expire old snapshots, merge small files, and delete what nothing reads any more."""
    with _said_in_prefect(), open_lake(config.lake) as lake:
        run_maintain(lake, config.upkeep)


@contextlib.contextmanager
def _said_in_prefect() -> Iterator[None]:
    """What stages say goes into the log of the run, where Prefect's pages show it, unless that log is silent as on the command line."""
    logger = get_run_logger()
    with told_to(logger.info) if logger.isEnabledFor(logging.INFO) else contextlib.nullcontext():
        yield


def _publish(job: Job, command: str, config: RunConfig, made: Made) -> None:
    """Make Prefect artifacts of the funnel of frames, the scores and the report."""
    if command == "ingest":
        create_table_artifact(key="frame-funnel", table=funnel_rows(job.lake), description=f"Frames of {job.lake.root}")
    if command == "report" and made.report:
        scores = scores_of_pretraining(job.lake, made.pretraining)
        rows = [{name: getattr(score, name) for name in SCORE_COLUMNS} for score in scores]
        create_table_artifact(key="scores", table=rows, description=f"Scores of {made.pretraining}")
        _publish_report(job, config, made, rows)


def _publish_report(job: Job, config: RunConfig, made: Made, scores: list[dict[str, Any]]) -> None:
    """A page with the main facts and the report's path, for no browser follows a link to a file from a server's page; and a link to where
    the lake is served, if it is.
    """
    report = made.report
    assert report is not None
    best = [row for row in scores if made.pretraining in str(row["model"])] or scores
    lines = [f"| {row['task']} | {row['head']} | {row['metric']} | {row['model']} | {row['value']:.3f} |" for row in best]
    table = "\n".join(["| task | head | metric | model | value |", "|---|---|---|---|---|", *lines]) if lines else "No score."
    text = f"# {made.pretraining}\n\nDataset {made.dataset}. The report is `{report}`.\n\n{table}\n"
    create_markdown_artifact(key="report-summary", markdown=text, description=f"Report of {made.pretraining}")
    if config.lake_url and report.is_relative_to(job.lake.root):
        link = f"{config.lake_url.rstrip('/')}/{report.relative_to(job.lake.root).as_posix()}"
        create_link_artifact(key="report", link=link, link_text="report")


def _parameters(commands: tuple[str, ...]) -> list[str]:
    """Names of the settings that these commands' stages take, and of those of every flow."""
    return ["lake", "runner", "workers", "lake_url", *(name for stage in stages_of(*commands) for name in stage.takes)]


def _go(commands: tuple[str, ...], config: RunConfig, made: Made) -> Made:
    wanted = [command for command in commands if any(stage.is_wanted(config) for stage in stages_of(command))]
    for number, command in enumerate(wanted, 1):
        with _said_in_prefect():
            say(f"step {number} of {len(wanted)}: {command}")
        made = TASKS[command](config, made)
    return made


@flow(name="endoforge-run", log_prints=False)
@takes(_parameters(ALL))
def run_flow(config: RunConfig) -> str:
    """Videos to a scored model; returns the path of the report."""
    check_stages(stages_of(*ALL), config)
    with kept_private():
        return str(_go(ALL, config, Made()).report)


@flow(name="endoforge-nightly", log_prints=False)
@takes([*_parameters(NIGHTLY), "alerts", *REPORTS], name="nightly")
def nightly_flow(config: RunConfig) -> str:
    """Take in what is new, curate again, and compare the lake with the thresholds of `alerts`, of which one that is passed fails the run.

    Returns the dataset's name, `name` with the start of the selection's id.
    """
    with kept_private(), reported("nightly", config.lake, summary=config.summary, metrics_file=config.metrics_file):
        config = replace(config, name=f"{config.name}-{{selection}}")
        check_stages(stages_of(*NIGHTLY), config)
        made = _go(NIGHTLY, config, Made())
        alerts_task(config)
    return made.dataset


@flow(name="endoforge-weekly", log_prints=False)
@takes([*_parameters(WEEKLY), "upkeep", *REPORTS], name="nightly")
def weekly_flow(config: RunConfig) -> str:
    """Pretrain on the newest dataset whose name starts with `name`, score it, report, make the lake small; returns the report's path."""
    with kept_private(), reported("weekly", config.lake, summary=config.summary, metrics_file=config.metrics_file):
        check_stages(stages_of(*WEEKLY), config)
        with open_lake(config.lake) as lake:
            dataset = latest_dataset(lake, config.name)
        made = _go(WEEKLY, config, Made(dataset=dataset))
        maintain_task(config)
    return str(made.report)
