"""The deployments of prefect.yaml against a real Prefect server on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient

from tests.flows.conftest import make_archive
from warehouse.lake import open_lake

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a client of a new server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "ENDOFORGE_HOME": str(REPOSITORY),
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: urllib.request.urlopen(f"{env['PREFECT_API_URL']}/health", timeout=2).status == 200, seconds=180)
        yield env
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


def test_the_nightly_deployment_runs_when_the_server_is_asked_and_takes_in_what_a_second_night_brings(
    server: dict[str, str], tmp_path: Path
) -> None:
    archive = make_archive(tmp_path / "archive", names=("a.mp4", "b.mp4"))
    lake = tmp_path / "lake"

    def run(*arguments: str) -> None:
        done = subprocess.run([sys.executable, "-m", "prefect", *arguments], env=server, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    run("work-pool", "create", "endoforge", "--type", "process")
    run("--no-prompt", "deploy", "--all")
    with SyncPrefectClient(server["PREFECT_API_URL"]) as client:
        nightly = client.read_deployment_by_name("endoforge-nightly/nightly")
        weekly = client.read_deployment_by_name("endoforge-weekly/weekly")
        assert [getattr(schedule.schedule, "cron", None) for schedule in (*nightly.schedules, *weekly.schedules)] == [
            "0 1 * * *",
            "0 6 * * 6",
        ]
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "endoforge"],
            env=server,
            cwd=REPOSITORY,
            stdout=(tmp_path / "worker.log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def night(**more: object) -> str:
            parameters = {"videos": [str(archive)], "lake": str(lake), "size": 2, "runner": "serial", **more}
            started = client.create_flow_run_from_deployment(nightly.id, parameters=parameters)
            wait_until(lambda: (state := client.read_flow_run(started.id).state) is not None and state.is_final(), seconds=300)
            ended = client.read_flow_run(started.id)
            assert ended.state is not None
            assert ended.state.is_completed(), (tmp_path / "worker.log").read_text()
            return str(started.id)

        try:
            first = night()
            make_archive(tmp_path / "more", names=("a.mp4", "b.mp4", "c.mp4"))
            (tmp_path / "more" / "c.mp4").rename(archive / "c.mp4")
            (tmp_path / "held.csv").write_text("video\na.mp4\n")
            devices = {"blur_percentile": 40, "blur_cap": 1e6, "min_device_frames": 2}
            second = night(holdout=[str(tmp_path / "held.csv")], devices=devices)
        finally:
            stop(worker)
        artifacts = client.request("POST", "/artifacts/filter", json={"artifacts": {"key": {"any_": ["frame-funnel"]}}}).json()
    assert len(artifacts) == 2
    with open_lake(lake, read_only=True) as opened:
        datasets = opened.rows("SELECT d.name, d.num_images, r.prefect_flow_run_id AS id FROM datasets d JOIN runs r USING (run_id)")
        assert sorted(row["id"] for row in datasets) == sorted([first, second])
        assert [row["num_images"] for row in datasets] == [2, 2]
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
