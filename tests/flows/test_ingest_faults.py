"""Workers and whole runs killed for real while they ingest: only the video at hand is lost, and a rerun ends where a quiet run would."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from curation.config import IngestConfig
from flows.ingest import run_ingest
from flows.job import Job
from flows.runners import RunnerName, make_runner
from tests.clips import FORMATS, moving_picture, write_clip
from tests.flows.conftest import kill_when, succeed
from tests.flows.test_curation import contents
from warehouse.lake import open_lake

SIGNALS = {"segfault": signal.SIGSEGV, "kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three long videos to be hit by a signal and three short ones, in the order of their names."""
    folder = tmp_path_factory.mktemp("archive")
    short = [moving_picture(number) for number in range(10)]
    for position, name in enumerate(SIGNALS):
        film = [moving_picture(number + position) for number in range(32)]
        write_clip(folder / f"{position} {name}.mp4", film * 60, FORMATS["h264-mp4"])
        write_clip(folder / f"{position} sound.mp4", film[:10] + short, FORMATS["h264-mp4"])
    return folder


@contextmanager
def signalled(targets: dict[Path, signal.Signals], lake: Path) -> Iterator[dict[Path, int]]:
    """Send each worker that has a target open its signal, once, as soon as videos are being ingested."""
    hit: dict[Path, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.005) and len(hit) < len(targets):
            if not (lake / "staging").exists():
                continue  # files are still being hashed
            for process in psutil.Process().children(recursive=True):
                try:
                    opened = {Path(file.path) for file in process.open_files()}
                except psutil.Error:
                    continue
                for path in opened & (targets.keys() - hit.keys()):
                    process.send_signal(targets[path])
                    hit[path] = process.pid

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield hit
    finally:
        done.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["processes", "ray"])
def test_a_worker_killed_or_stopped_from_outside_costs_its_video_alone(runner: RunnerName, archive: Path, tmp_path: Path) -> None:
    targets = {path: sent for path in sorted(archive.iterdir()) for name, sent in SIGNALS.items() if name in path.name}
    config = IngestConfig(all=True, timeout_s=6)
    with open_lake(tmp_path, create=True) as lake:
        job = Job(lake=lake, runner=make_runner(runner, 2))
        with signalled(targets, tmp_path) as hit:
            summary = run_ingest(job, [str(archive)], config=config)
        assert set(hit) == set(targets)
        assert (summary.num_ingested, summary.num_rejected) == (3, 3)
        videos = [Path(row["uri"]).name for row in lake.rows("SELECT uri FROM videos ORDER BY uri")]
        assert videos == ["0%20sound.mp4", "1%20sound.mp4", "2%20sound.mp4"]
        assert lake.rows("SELECT reason, detail FROM rejects ORDER BY uri") == [
            {"reason": "crash", "detail": "the worker process died with exit code -11"},
            {"reason": "crash", "detail": "the worker process died with exit code -9"},
            {"reason": "timeout", "detail": "took longer than 6 s"},
        ]
        assert run_ingest(job, [str(archive)], config=config).num_known == 6


def after(seconds: float) -> Callable[[], bool]:
    started = time.monotonic()
    return lambda: time.monotonic() - started > seconds


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_as_one_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    film = [moving_picture(number) for number in range(32)]
    for number in range(12):
        write_clip(folder / f"{number}.mp4", film[number:] + film[:number] + film * 3, FORMATS["h264-mp4"])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video")
    (folder / "again.mp4").write_bytes((folder / "0.mp4").read_bytes())
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    command = ["ingest", str(folder), "--all", "--lake"]
    started = time.monotonic()
    succeed(*command, quiet)
    whole_s = time.monotonic() - started
    delays = random.Random(7)
    kills = sum(kill_when([*command, str(killed)], after(delays.uniform(0.1, 0.9) * whole_s)) for _ in range(10))
    assert kills >= 1
    succeed(*command, killed)
    ours, theirs = contents(killed), contents(quiet)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert theirs["videos"]
