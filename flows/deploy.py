"""Write schedules to a Prefect server: work pool, deployments, concurrency limits, and an automation that ends silent runs.

Everything is checked before anything is written, and typed again it changes what differs. The file is `prefect.yaml`, of which
`prefect deploy` too makes deployments; that command writes no automation, and asks GitHub for types of work pools.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.actions import ChangeFlowRunState
from prefect.exceptions import ObjectNotFound, ParameterTypeError
from prefect.flows import Flow
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker

from flows import pipeline
from flows.stages import check_deployments

__all__ = ["Plan", "deploy", "read_plans", "silent_runs"]

AUTOMATION = "endoforge-silent-runs"
GRACE_S = 120
"""Seconds after which the slot of a run that was killed, also before it began, is free again; Prefect takes 60 at least."""
_ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "Cancelling", "Paused", "Suspended", "Scheduled", "AwaitingConcurrencySlot")
_FLOWS = {
    f"flows.pipeline:{name}": flow
    for name, flow in (("nightly_flow", pipeline.nightly_flow), ("weekly_flow", pipeline.weekly_flow), ("run_flow", pipeline.run_flow))
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One deployment of the file, checked."""

    name: str
    flow: Flow[Any, Any]
    entrypoint: str
    description: str | None
    parameters: dict[str, Any]
    schedules: tuple[DeploymentScheduleCreate, ...]
    pool: str
    queue: str | None
    concurrency_limit: int


def deploy(file: Path, *, heartbeat_s: float, pool_limit: int | None) -> Iterator[str]:
    """Bring the server that PREFECT_API_URL names up to date with a file; yields a line for each thing written.

    Args:
        file: `prefect.yaml`; runs start in its folder.
        heartbeat_s: how often the runs say that they live, 30 at least; after three of them in silence a run is Crashed.
        pool_limit: most runs of the work pool at once; None for any number.

    Raises:
        ValueError: the file does not say what is needed, names a flow or a setting that there is not, or no server is named.
        ConnectionError: the server does not answer.
    """
    plans = read_plans(file)
    address = PREFECT_API_URL.value()
    if not address:
        raise ValueError("PREFECT_API_URL is not set; give the address of your Prefect server, such as http://127.0.0.1:4200/api")
    with get_client(sync_client=True) as client:
        if client.api_healthcheck() is not None:
            raise ConnectionError(f"no Prefect server answers at {address}; wait until it has started, or set PREFECT_API_URL")
        for pool in dict.fromkeys(plan.pool for plan in plans):
            yield _write_pool(client, pool, pool_limit)
        for plan in plans:
            yield _write_deployment(client, plan, file.absolute().parent, heartbeat_s)
        yield _write_automation(client, heartbeat_s)


def read_plans(file: Path) -> tuple[Plan, ...]:
    """Read a file of deployments and check them; nothing is written, and no server is asked.

    Raises:
        ValueError: see `deploy`; the message names the deployment.
        FileNotFoundError: there is no such file.
    """
    check_deployments(file)
    told = yaml.safe_load(file.read_text())
    found = told.get("deployments") if isinstance(told, dict) else None
    if not isinstance(found, list) or not found:
        raise ValueError(f"{str(file)!r} lists no deployments; give a prefect.yaml with a list under `deployments`")
    return tuple(map(_plan, found))


def _plan(told: dict[str, Any]) -> Plan:
    name, entrypoint = told.get("name"), told.get("entrypoint")
    flow = _FLOWS.get(str(entrypoint))
    if not name or flow is None:
        raise ValueError(f"deployment {name!r} has the entrypoint {entrypoint!r}; give it a name and one of {', '.join(_FLOWS)}")
    parameters = told.get("parameters") or {}
    try:
        flow.validate_parameters(parameters)
    except (ParameterTypeError, TypeError, ValueError) as error:
        raise ValueError(f"deployment {name!r} has parameters that its flow does not take: {' '.join(str(error).split())}") from None
    pool = told.get("work_pool") or {}
    schedules = tuple(
        DeploymentScheduleCreate(
            schedule=CronSchedule(cron=one["cron"], timezone=one.get("timezone", "UTC")), active=bool(one.get("active", True))
        )
        for one in told.get("schedules") or ()
    )
    return Plan(
        name=name,
        flow=flow,
        entrypoint=str(entrypoint),
        description=told.get("description"),
        parameters=parameters,
        schedules=schedules,
        pool=pool.get("name", "endoforge"),
        queue=pool.get("work_queue_name"),
        concurrency_limit=int(told.get("concurrency_limit") or 1),
    )


def _write_pool(client: SyncPrefectClient, name: str, limit: int | None) -> str:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template, concurrency_limit=limit))
        return f"work pool {name}: made"
    client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))
    return f"work pool {name}: there already"


def _write_deployment(client: SyncPrefectClient, plan: Plan, folder: Path, heartbeat_s: float) -> str:
    client.create_deployment(
        flow_id=client.create_flow_from_name(plan.flow.name),
        name=plan.name,
        description=plan.description,
        entrypoint=plan.entrypoint,
        parameters=plan.parameters,
        parameter_openapi_schema=plan.flow.parameters.model_dump_for_openapi(),
        enforce_parameter_schema=True,
        schedules=list(plan.schedules),
        concurrency_limit=plan.concurrency_limit,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE, grace_period_seconds=GRACE_S),
        work_pool_name=plan.pool,
        work_queue_name=plan.queue,
        job_variables={"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": f"{heartbeat_s:.0f}"}},
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}],
    )
    crons = ", ".join(
        f"{one.schedule.cron}{'' if one.active else ' (off)'}" for one in plan.schedules if isinstance(one.schedule, CronSchedule)
    )
    return f"deployment {plan.flow.name}/{plan.name}: {crons or 'no schedule'}; at most {plan.concurrency_limit} run at once"


def _write_automation(client: SyncPrefectClient, heartbeat_s: float) -> str:
    ours = FlowFilter(name=FlowFilterName(any_=[flow.name for flow in _FLOWS.values()]))
    wanted = silent_runs(heartbeat_s, deployments=[one.id for one in client.read_deployments(flow_filter=ours)])
    if known := client.read_automations_by_name(wanted.name):
        client.update_automation(known[0].id, wanted)
    else:
        client.create_automation(wanted)
    return f"automation {wanted.name}: a run that is silent for {3 * heartbeat_s:g} s is Crashed"


def silent_runs(heartbeat_s: float, *, deployments: Sequence[UUID]) -> AutomationCore:
    """The automation that turns runs of these deployments into Crashed once they miss three heartbeats, or do not begin.

    A run is heard from when it goes into Pending or Running, at its pull step and at each heartbeat; from then on it has to be heard from
    again in time. A server puts off the states of a run that was scheduled less than five minutes before, as they follow a state without
    an event of its own; pull step and heartbeats, which the run itself sends, follow nothing. Pull steps name no flow, but a deployment.
    """
    signs = ("heartbeat", "pull-step.executed", "Running")
    within = datetime.timedelta(seconds=3 * heartbeat_s)
    trigger = EventTrigger(
        after={f"prefect.flow-run.{name}" for name in ("Pending", *signs)},
        expect={f"prefect.flow-run.{name}" for name in (*signs, *_ENDS)},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "deployment", "prefect.resource.id": [f"prefect.deployment.{one}" for one in deployments]},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )
    message = f"not heard from for {within.total_seconds():g} s: its process, worker or machine is gone"
    return AutomationCore(
        name=AUTOMATION,
        description="Written by `endoforge deploy`.",
        trigger=trigger,
        actions=[ChangeFlowRunState(state=StateType.CRASHED, name=None, message=message, force=False)],
    )
