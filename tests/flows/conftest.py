"""A tiny archive of phantom videos with odd names and damaged files, and a whole demo over another, made once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from curation.phantom.config import PhantomConfig
from curation.phantom.phantom import render_video
from tests.helpers.interrupted import Ended, Running
from tests.helpers.warm import warm_commands

TINY = PhantomConfig(num_train_videos=3, num_eval_patients=6, seconds=5, fps=8, size=128, seed=3)
ODD_NAMES = ('patient one/it\'s "odd"\n.mp4', "söüß/procédure 内視鏡.mp4", "-dash & $(touch x); rm.mp4")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def endoforge(*arguments: str | Path, env: dict[str, str] | None = None) -> Done:
    """Run the command in a process of its own."""
    ((code, out, err),) = warm_commands({**os.environ, **(env or {})}, [str(word) for word in arguments])
    return Done(code, out, err)


def succeed(*arguments: str | Path) -> Done:
    """Run the command and insist that it did its work."""
    done = endoforge(*arguments)
    assert done.code == 0, done.err
    return done


def kill_when(arguments: list[str], moment: Callable[[], bool]) -> bool:
    """Start a command and kill -9 it with its workers at a moment; False where it ended before."""
    process = subprocess.Popen([sys.executable, "-m", "flows.cli.cli", *arguments], start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if moment():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    return False


def make_archive(folder: Path, names: Sequence[str] = ODD_NAMES) -> Path:
    for patient, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        render_video(folder / name, config=TINY, patient=patient)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_archive(tmp_path_factory.mktemp("an archive"))
    first = folder / ODD_NAMES[0]
    (folder / "again.mp4").write_bytes(first.read_bytes())
    (folder / "empty.mp4").touch()
    (folder / "not a video.mp4").write_text("<html>Patient: nobody</html>")
    (folder / "cut.mp4").write_bytes(first.read_bytes()[:2000])
    return folder


@dataclass(frozen=True)
class Demo:
    """An `endoforge demo` with the recipe smoke, interrupted as it begins to curate and typed again, without Ray."""

    folder: Path
    arguments: tuple[str, ...]
    interrupted: Ended
    printed: str
    said: str

    @property
    def lake(self) -> Path:
        return self.folder / "lake"


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    place = tmp_path_factory.mktemp("demo")
    folder = place / "it's a demo"
    phantom = {"num-train-videos": 4, "num-eval-patients": 6, "seconds": 8, "size": 160}
    phantom |= {"landmarks-per-station": 2, "images-per-grade": 2, "polyps-per-patient": 3}
    options = [word for name, value in phantom.items() for word in (f"--phantom.{name}", str(value))]
    arguments = ("demo", "--out", str(folder), "--recipe", "smoke", "--size", "40", *options)
    running = Running([*arguments, "--runner", "processes", "--workers", "2"], folder=place / "first")
    try:
        running.wait_for("embed: (\\d+ frames|every kept)")
        interrupted = running.end(signal.SIGINT)
    finally:
        running.kill()
    running = Running([*arguments, "--runner", "serial"], folder=place / "second")
    try:
        printed = running.wait(timeout=580)
    finally:
        running.kill()
    return Demo(folder, (*arguments, "--runner", "serial"), interrupted, printed, running.log.read_text())
