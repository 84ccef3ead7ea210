"""A command in a process group of its own, as a terminal starts it, that is ended by a signal and may not leave this machine."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["SENTENCE", "Ended", "Running"]

SENTENCE = "endoforge: interrupted; the same command goes on from here"
PROGRESS = "(step|ingest|embed|cluster|compare|write|similarity|dedup|select|shard|pretrain|curate)"
"""What stages say meanwhile."""
LOOPBACK_ONLY = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ('127.0.0.1', '::1', 'localhost'):
        raise SystemExit(f'NETWORK {address}')
    return _connect(self, address)
socket.socket.connect = connect
"""


@dataclass(frozen=True)
class Ended:
    """What a signal led to."""

    code: int
    seconds: float
    said: list[str]
    """Lines after the signal that are no progress."""
    left: list[psutil.Process]
    """Processes that still live."""


class Running:
    """A command that may not connect beyond this machine; what it says goes to `folder`."""

    def __init__(self, arguments: Sequence[str], *, folder: Path) -> None:
        self.log, self.printed = folder / "log", folder / "printed"
        guard = folder / "guard"
        guard.mkdir(parents=True, exist_ok=True)
        (guard / "sitecustomize.py").write_text(LOOPBACK_ONLY)
        paths = os.pathsep.join([str(guard), os.environ.get("PYTHONPATH", "")])
        with self.printed.open("w") as printed, self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli.cli", *arguments],
                env=os.environ | {"PYTHONPATH": paths},
                stdout=printed,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whatever started the tests
            )

    def wait_for(self, said: str) -> None:
        deadline = time.monotonic() + 500
        while not re.search(said, self.log.read_text()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def wait(self, timeout: float) -> str:
        """Wait for a good end; returns what was printed."""
        assert self.process.wait(timeout=timeout) == 0, self.log.read_text()
        assert "NETWORK" not in self.log.read_text()
        return self.printed.read_text()

    def end(self, number: signal.Signals) -> Ended:
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
        said = [line for line in self.log.read_text()[before:].splitlines() if not re.match(PROGRESS, line)]
        return Ended(code, seconds, said, [process for process in descendants if is_alive(process)])

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
