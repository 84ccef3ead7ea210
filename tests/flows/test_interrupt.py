"""Ctrl-C and SIGTERM in `endoforge run`, at every stage: one sentence, an exit code, and no process left; and no network at any."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from tests.flows.conftest import make_archive
from warehouse.lake import open_lake

pytestmark = pytest.mark.slow
SENTENCE = "endoforge: interrupted; the same command goes on from here"
PROGRESS = "(step|ingest|embed|cluster|compare|write|similarity|dedup|select|shard|pretrain|curate)"
"""What stages say meanwhile."""
WITHIN_S = 5.0
LOOPBACK_ONLY = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ('127.0.0.1', '::1', 'localhost'):
        raise SystemExit(f'NETWORK {address}')
    return _connect(self, address)
socket.socket.connect = connect
"""


class Running:
    """`endoforge run` in a process group of its own, as a shell starts it in a terminal, that may not connect beyond this machine."""

    def __init__(self, archive: Path, lake: Path, log: Path, *, recipe: str) -> None:
        self.log = log
        command = [sys.executable, "-m", "flows.cli.cli", "run", str(archive), "--lake", str(lake), "--size", "64", "--recipe", recipe]
        options = ["--ingest.fps", "4", "--ingest.text", "off", "--workers", "2"]
        guard = archive.parent / "guard"
        guard.mkdir(exist_ok=True)
        (guard / "sitecustomize.py").write_text(LOOPBACK_ONLY)
        paths = os.pathsep.join([str(guard), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [*command, *options],
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.DEVNULL,
            stderr=log.open("w"),
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whatever started the tests
        )

    def wait_for(self, said: str) -> None:
        deadline = time.monotonic() + 500
        while not re.search(said, self.log.read_text()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def end(self, number: signal.Signals) -> tuple[int, float, str, list[psutil.Process]]:
        """Exit code, seconds, what was said after the signal, and the processes that still live."""
        descendants = psutil.Process(self.process.pid).children(recursive=True)
        before = len(self.log.read_text())
        sent = time.monotonic()
        if number is signal.SIGINT:
            os.killpg(self.process.pid, number)  # a terminal sends it to the whole group
        else:
            self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        seconds = time.monotonic() - sent
        time.sleep(0.2)
        return code, seconds, self.log.read_text()[before:], [process for process in descendants if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    make_archive(folder / "archive", names=[f"{name}.mp4" for name in "abcdef"])
    return folder


@pytest.fixture
def run(place: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    running = Running(place / "archive", place / "lake", tmp_path / "log", recipe=request.param)
    yield running
    if running.process.poll() is None:
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()


# in this order: each run goes on from what the one before it has finished
@pytest.mark.parametrize(
    ("run", "said", "number", "code"),
    [
        pytest.param("smoke", "hash videos: 6/6", signal.SIGINT, 130, marks=pytest.mark.drill),  # ingest
        pytest.param("smoke", "ingest: 6 files", signal.SIGINT, 130, marks=pytest.mark.drill),  # embed
        ("smoke", "embed: (\\d+ frames|every kept)", signal.SIGINT, 130),  # curate
        pytest.param("smoke", "shard: ", signal.SIGTERM, 143, marks=pytest.mark.drill),  # pretrain, while it starts
        pytest.param("demo", "pretrain: step \\d", signal.SIGINT, 130, marks=pytest.mark.drill),  # while it learns
    ],
    indirect=["run"],
)
def test_an_interrupted_run_says_one_sentence_and_leaves_no_process(run: Running, said: str, number: signal.Signals, code: int) -> None:
    run.wait_for(said)
    ended, seconds, text, left = run.end(number)
    assert (ended, left) == (code, [])
    lines = [line for line in text.splitlines() if not re.match(PROGRESS, line)]
    assert lines == [SENTENCE]
    assert seconds < WITHIN_S


@pytest.mark.parametrize("run", ["smoke"], indirect=True)
def test_the_run_after_it_goes_on_to_the_end(run: Running, place: Path) -> None:
    assert run.process.wait(timeout=400) == 0, run.log.read_text()
    assert "NETWORK" not in run.log.read_text()
    with open_lake(place / "lake", read_only=True) as lake:
        metrics = {row["validation_metric"] for row in lake.rows("SELECT validation_metric FROM checkpoints")}
        in_ray = lake.rows("SELECT run_id FROM runs WHERE stage = 'pretrain' AND ray_job_id IS NOT NULL")
    assert metrics == {"views/matching"}
    assert torch.cuda.is_available() or in_ray == []  # one worker on CPUs
