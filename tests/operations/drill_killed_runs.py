"""Kills what runs a schedule, and measures when the next run of it does its work.

python -m tests.operations.drill_killed_runs [engine|worker|both|pending|pending-both ...]

A real Prefect server, on SQLite, in a folder of its own; `endoforge deploy` writes the nightly deployment, whose limit is one run at a
time, and its schedule is set to every 30 seconds. A run is killed with SIGKILL:

- engine: the process of the running flow;
- worker: the worker alone, as by an upgrade; its run notices and ends itself, and another worker is started;
- both: worker and flow together, as when a machine dies; another worker is started;
- pending: the flow's process before it has said that it runs;
- pending-both: worker and flow's process before that.

Each line says how long it took from the kill until the killed run had ended, until a later scheduled run was running, and until one was
complete. `endoforge deploy` is typed twice, and must have made one of each thing. About three minutes a case.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.flows.conftest import make_archive

REPOSITORY = Path(__file__).parents[2]
CASES = ("engine", "worker", "both", "pending", "pending-both")
PATIENCE_S = 900.0
LONGEST_S = 420.0
"""for the end of a killed run"""
ENDED = ("COMPLETED", "CRASHED", "FAILED", "CANCELLED")


@dataclass
class Site:
    """A server, a worker, and what they are told."""

    folder: Path
    url: str
    environment: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "prefect", *arguments]
        with (self.folder / f"{arguments[0]}-{len(self.processes)}.log").open("w") as log:
            started = subprocess.Popen(
                command, env=self.environment, cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.processes.append(started)
        return started

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self.start("worker", "start", "--pool", "drill", "--type", "process")

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = answer.read()
        return json.loads(said) if said else None

    def runs(self) -> list[dict[str, Any]]:
        """Runs that have begun, the earliest first."""
        found: list[dict[str, Any]] = self.ask("POST", "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC", "limit": 200})
        return [run for run in found if run["state_type"] != "SCHEDULED"]

    def deploy(self) -> None:
        command = [sys.executable, "-m", "flows.cli.cli", "deploy", str(self.folder / "prefect.yaml")]
        subprocess.run(command, env=self.environment, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)


def engines(worker: subprocess.Popen[bytes], flow_run_id: str | None = None) -> list[psutil.Process]:
    """The flows' own processes below a worker, each with what it has started; of one run, if it is given."""
    found: list[psutil.Process] = []
    try:
        for process in psutil.Process(worker.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if flow_run_id in (None, process.environ().get("PREFECT__FLOW_RUN_ID")):
                    found.append(process)
    except psutil.NoSuchProcess:
        return []
    return found


def wait_for(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if answer := found():
                return answer
        except OSError:
            pass  # not listening yet
        time.sleep(0.5)
    raise SystemExit(f"{what} did not come about in {PATIENCE_S:g} s")


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def drill(site: Site, case: str, worker: subprocess.Popen[bytes]) -> tuple[subprocess.Popen[bytes], str]:
    """One kill; gives the worker that lives on, and the line."""
    wanted = ("PENDING",) if case.startswith("pending") else ("RUNNING",)
    known = {run["id"] for run in site.runs() if run["state_type"] not in wanted}

    def victim() -> dict[str, Any] | None:
        fresh = [run for run in site.runs() if run["id"] not in known and run["state_type"] in wanted]
        return fresh[0] if fresh and engines(worker, fresh[0]["id"]) else None  # the process of the run before may still be ending

    killed = wait_for(victim, f"a run that is {wanted[0]}")
    if case in ("engine", "pending"):
        kill(engines(worker))
    else:
        below = engines(worker)
        worker.kill()
        worker.wait()
        if case.endswith("both"):
            kill(below)
    began, killed_at = time.monotonic(), datetime.datetime.now(datetime.UTC)
    if case == "worker" or case.endswith("both"):
        worker = site.start_worker()

    def ended() -> bool:
        return site.ask("GET", f"/flow_runs/{killed['id']}")["state_type"] in ENDED

    def later(*states: str) -> bool:
        """Whether another run that has begun since is in one of these states."""
        begun = [run for run in site.runs() if run["id"] != killed["id"] and run["start_time"]]
        return any(datetime.datetime.fromisoformat(run["start_time"]) > killed_at and run["state_type"] in states for run in begun)

    told: dict[str, Callable[[], bool]] = {
        "the killed run ended": ended,
        "the next was running": lambda: later("RUNNING", "COMPLETED"),
        "complete": lambda: later("COMPLETED"),
    }
    after_s: dict[str, float] = {}

    def measured() -> bool:
        after_s.update({what: time.monotonic() - began for what, holds in told.items() if what not in after_s and holds()})
        return "complete" in after_s and ("the killed run ended" in after_s or time.monotonic() - began > LONGEST_S)

    wait_for(measured, "another complete run")
    state = site.ask("GET", f"/flow_runs/{killed['id']}")["state_name"]
    said = ", ".join(f"{what} after {after_s[what]:.0f} s" for what in told if what in after_s)
    return worker, f"{case:>12}: {said}; the killed one is {state}"


def prefect_yaml(folder: Path) -> str:
    """The nightly deployment of the repository's file, over a small archive."""
    told = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    (nightly,) = [one for one in told["deployments"] if one["name"] == "nightly"]
    nightly["parameters"] = {
        "videos": [str(folder / "archive")],
        "lake": str(folder / "lake"),
        "size": 4,
        "nested": [2],
        "runner": "serial",
        "ingest": {"fps": 2, "text": "off"},
        "shard": {"min_shards": 1},
        "alerts": {"min_disk_days": None, "min_free_gib": 0},
    }
    nightly["work_pool"] = {"name": "drill"}
    return str(yaml.safe_dump({"deployments": [nightly]}))


@contextlib.contextmanager
def site(**variables: str) -> Iterator[Site]:
    """A Prefect server with the nightly deployment, deployed twice; `variables` are of its environment and that of its clients."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="drill-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        make_archive(folder / "archive", names=("a.mp4",))
        (folder / "prefect.yaml").write_text(prefect_yaml(folder))
        url = f"http://127.0.0.1:{port}/api"
        told = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": url, **variables}
        theirs = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        made = Site(folder, url, {**theirs, **told, "PYTHONPATH": str(REPOSITORY)})
        try:
            made.start("server", "start", "--port", str(port))
            wait_for(lambda: urllib.request.urlopen(f"{url}/health", timeout=2).status == 200, "a server")
            made.deploy()
            made.deploy()
            yield made
        finally:
            for process in reversed(made.processes):
                kill(engines(process))
                process.kill()
                process.wait()


def set_schedule(on: Site, schedule: dict[str, str | float]) -> None:
    """Put this schedule in the place of that of the only deployment."""
    (deployment,) = on.ask("POST", "/deployments/filter", {})
    schedules = f"/deployments/{deployment['id']}/schedules"
    for known in on.ask("GET", schedules):
        on.ask("DELETE", f"{schedules}/{known['id']}")
    on.ask("POST", schedules, [{"schedule": schedule, "active": True}])


def main() -> None:
    cases = tuple(sys.argv[1:]) or CASES
    with site() as on:
        made = {what: len(on.ask("POST", f"/{what}/filter", {})) for what in ("deployments", "work_pools", "automations")}
        print(f"deployed twice: {made}", flush=True)
        set_schedule(on, {"interval": 30.0, "anchor_date": "2020-01-01T00:00:00Z"})
        worker = on.start_worker()
        wait_for(lambda: any(run["state_type"] == "COMPLETED" for run in on.runs()), "a first complete run")
        for case in cases:
            worker, line = drill(on, case, worker)
            print(line, flush=True)


if __name__ == "__main__":
    main()
