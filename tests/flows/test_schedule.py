"""The deployments of prefect.yaml against a real Prefect server on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectHTTPStatusError

from tests.flows.conftest import make_archive
from tests.flows.outside import Observed, observed_from_outside
from warehouse.lake import open_lake

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
PREFECT = (sys.executable, "-m", "prefect")
NO_TELEMETRY = ("DO_NOT_TRACK", "CI")
"""Variables that would keep Prefect silent whatever the repository says."""


@dataclass(frozen=True)
class Server:
    """A Prefect server that was started as README says, from the repository."""

    environment: dict[str, str]
    """That of its clients."""
    url: str
    outside: Observed
    """What the server and its clients asked of other machines."""

    def deploy(self) -> str:
        """What `endoforge deploy` says."""
        command = [sys.executable, "-m", "flows.cli.cli", "deploy", "prefect.yaml"]
        done = subprocess.run(command, env=self.environment, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *arguments: str, log: Path) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [*PREFECT, *arguments],
            env=self.environment,
            cwd=REPOSITORY,
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.outside.processes.add(process.pid)
        return process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with observed_from_outside() as outside:
        # an operator's shell: the variables that flows/__init__ sets for its own process are not there
        theirs = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_") and name not in NO_TELEMETRY}
        url = f"http://127.0.0.1:{port}/api"
        environment = {
            **theirs,
            **outside.environment,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": url,
            "ENDOFORGE_HOME": str(REPOSITORY),
        }
        found = Server(environment=environment, url=url, outside=outside)
        process = found.start("server", "start", "--port", str(port), log=home / "server.log")
        try:
            wait_until(lambda: urllib.request.urlopen(f"{url}/health", timeout=2).status == 200, seconds=180)
            yield found
        finally:
            stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its children; how tidily Prefect's own close is not what is tested."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(holds: object, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if holds():  # type: ignore[operator]
                return
        except OSError:
            pass  # not listening yet
        time.sleep(0.5)
    raise AssertionError(f"nothing happened in {seconds} s")


def test_a_server_started_as_readme_says_calls_no_other_machine(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/admin/settings", timeout=60) as answer:
        settings = json.load(answer)
    assert settings["server"]["analytics_enabled"] is False
    time.sleep(5)  # the heartbeat is sent as soon as the server is up
    assert server.outside.requests == []
    assert server.outside.connections == set()


def test_the_nightly_schedule_starts_runs_by_itself_and_a_second_night_takes_in_what_is_new(server: Server, tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "archive", names=("a.mp4", "b.mp4"))
    lake = tmp_path / "lake"
    said = server.deploy()
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        "work pool endoforge",
        "deployment endoforge-nightly/nightly",
        "deployment endoforge-weekly/weekly",
        "automation endoforge-silent-runs",
    ]
    worker = server.start("worker", "start", "--pool", "endoforge", "--type", "process", log=tmp_path / "worker.log")
    with SyncPrefectClient(server.url) as client:

        def runs_of_schedule(deployment: UUID, *states: str) -> list[dict[str, Any]]:
            wanted = {
                "deployments": {"id": {"any_": [str(deployment)]}},
                "flow_runs": {"state": {"type": {"any_": states}}},
            }
            found: list[dict[str, Any]] = client.request("POST", "/flow_runs/filter", json=wanted).json()
            return [run for run in found if run["auto_scheduled"]]

        def ended(flow_run_id: UUID) -> str:
            wait_until(lambda: (state := client.read_flow_run(flow_run_id).state) is not None and state.is_final(), seconds=300)
            state = client.read_flow_run(flow_run_id).state
            assert state is not None
            assert state.is_completed(), (tmp_path / "worker.log").read_text()
            return str(flow_run_id)

        try:
            (pool,) = client.request("POST", "/work_pools/filter", json={}).json()
            assert (pool["name"], pool["type"]) == ("endoforge", "process")
            (automation,) = client.request("POST", "/automations/filter", json={}).json()
            assert automation["name"] == "endoforge-silent-runs"
            assert automation["actions"][0]["state"] == "CRASHED"
            nightly = client.read_deployment_by_name("endoforge-nightly/nightly")
            weekly = client.read_deployment_by_name("endoforge-weekly/weekly")
            crons = [getattr(schedule.schedule, "cron", None) for schedule in (*nightly.schedules, *weekly.schedules)]
            assert crons == ["0 1 * * *", "0 6 * * 6"]
            assert (nightly.global_concurrency_limit.limit, weekly.global_concurrency_limit.limit) == (1, 1)  # type: ignore[union-attr]
            wait_until(lambda: len(runs_of_schedule(nightly.id, "SCHEDULED")) > 0, seconds=120)
            wait_until(lambda: len(runs_of_schedule(weekly.id, "SCHEDULED")) > 0, seconds=120)
            assert {run["next_scheduled_start_time"][11:16] for run in runs_of_schedule(nightly.id, "SCHEDULED")} == {"01:00"}

            settings: dict[str, Any] = {
                "ingest": {"settle_s": 3, "fps": 2, "retry_failed": True, "text": "off"},
                "sample": {"max_per_video": 3, "within_leaf": "closest"},
                "shard": {"min_shards": 1},
                "alerts": {"min_disk_days": None, "min_free_gib": 0},
            }
            parameters = {"videos": [str(archive)], "lake": str(lake), "size": 4, "nested": [2], "runner": "serial"}
            for deployment in (nightly, weekly):  # it may be one in the morning
                for cron in deployment.schedules:
                    here = {"id": str(deployment.id), "schedule_id": str(cron.id)}
                    client.request("PATCH", "/deployments/{id}/schedules/{schedule_id}", path_params=here, json={"active": False})
            often = {"interval": 30.0, "anchor_date": "2020-01-01T00:00:00Z"}
            made = [{"schedule": often, "active": True, "slug": "often", "parameters": {**parameters, **settings}}]
            (schedule,) = client.request("POST", "/deployments/{id}/schedules", path_params={"id": str(nightly.id)}, json=made).json()
            begun = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CRASHED")
            wait_until(lambda: runs_of_schedule(nightly.id, *begun) != [], seconds=200)
            here = {"id": str(nightly.id), "schedule_id": schedule["id"]}
            client.request("DELETE", "/deployments/{id}/schedules/{schedule_id}", path_params=here)
            by_schedule = {ended(UUID(run["id"])) for run in runs_of_schedule(nightly.id, *begun)}

            make_archive(tmp_path / "more", names=("a.mp4", "b.mp4", "c.mp4"))
            (tmp_path / "more" / "c.mp4").rename(archive / "c.mp4")
            (tmp_path / "held.csv").write_text("video\na.mp4\n")
            parameters = {
                **parameters,
                "nested": None,
                "size": 2,
                "ingest": settings["ingest"],
                "holdout": {"holdout": [str(tmp_path / "held.csv")], "holdout_scope": "video"},
                "devices": {"blur_percentile": 40, "blur_cap": 1e6, "min_device_frames": 2},
                "summary": str(tmp_path / "nightly.json"),
                "alerts": {"min_disk_days": None, "min_free_gib": 0},
            }
            second = ended(client.create_flow_run_from_deployment(nightly.id, parameters=parameters).id)
            told = json.loads((tmp_path / "nightly.json").read_text())
            assert (told["exit_code"], told["files"]["ingested"]) == (0, 1)
            assert {check["name"]: check["state"] for check in told["checks"]}["rejects"] == "unknown"
            logged = client.request("POST", "/logs/filter", json={"logs": {"flow_run_id": {"any_": [second]}}}).json()
            assert any("1 ingested, 0 rejected" in line["message"] for line in logged)
            with pytest.raises(PrefectHTTPStatusError, match="settle"):
                client.create_flow_run_from_deployment(nightly.id, parameters={**parameters, "ingest": {"settle": 60}})
        finally:
            stop(worker)
        asked = {"artifacts": {"key": {"any_": ["frame-funnel", "alerts"]}}}
        artifacts = [artifact["key"] for artifact in client.request("POST", "/artifacts/filter", json=asked).json()]
    assert server.outside.requests == []
    assert server.outside.connections == set()
    assert artifacts.count("frame-funnel") == artifacts.count("alerts") == 2
    with open_lake(lake, read_only=True) as opened:
        datasets = opened.rows("SELECT d.name, d.num_images, r.prefect_flow_run_id AS id FROM datasets d JOIN runs r USING (run_id)")
        assert sorted((row["id"] == second, row["num_images"]) for row in datasets) == [(False, 2), (False, 4), (True, 2)]
        (first,) = {row["id"] for row in datasets if row["id"] != second}
        assert first in by_schedule
        ingests = opened.rows("SELECT config FROM runs WHERE stage = 'ingest'")
        recorded = [json.loads(row["config"]) for row in ingests]
        assert [{name: config[name] for name in settings["ingest"]} for config in recorded] == [settings["ingest"]] * 2
        selects = opened.rows("SELECT config FROM runs WHERE stage = 'select' AND prefect_flow_run_id = $1", [first])
        drawn = {(config["max_per_video"], config["within_leaf"]) for config in (json.loads(row["config"]) for row in selects)}
        assert drawn == {(3, "closest")}
        assert all(str(row["name"]).startswith("nightly-") for row in datasets)
        stages = {str(row["stage"]) for row in opened.rows("SELECT stage FROM runs WHERE prefect_flow_run_id = $1", [second])}
        assert {"ingest", "requalify", "embed", "holdout", "similarity", "dedup", "select", "shard"} <= stages
        assert stages & {"place", "cluster"}
        assert opened.rows("SELECT status FROM runs WHERE status <> 'complete'") == []
        of_first = "SELECT count(*) AS n FROM datasets d JOIN shard_frames USING (dataset_id) JOIN frames USING (frame_id)"
        held = "JOIN current_videos v USING (video_id) JOIN runs r ON r.run_id = d.run_id WHERE v.uri LIKE '%/a.mp4'"
        (kept,) = opened.rows(f"{of_first} {held} AND r.prefect_flow_run_id = $1", [second])
        assert kept["n"] == 0
        assert opened.rows("SELECT count(*) AS n FROM requalified WHERE NOT keep AND drop_reason = 'blurred'") != [{"n": 0}]


def test_prefect_yaml_names_flows_that_exist() -> None:
    import flows.pipeline

    for deployment in yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]:
        path, name = deployment["entrypoint"].split(":")
        assert path == "flows.pipeline"  # as a file, its folder would hide the packages pretrain and evaluation
        flow = getattr(flows.pipeline, name)
        assert set(deployment["parameters"]) <= set(flow.parameters.properties)
