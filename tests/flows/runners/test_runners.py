import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.runners import Failure
from flows.runners.attempt import OUT_OF_MEMORY_EXIT_CODE
from flows.runners.runners import Runner, RunnerName, make_runner, successes


def double(item: int, *, offset: int) -> int:
    if item == 3:
        raise ValueError("three\nis bad")
    return 2 * item + offset


def misbehave(item: str) -> str:
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "hang":
        time.sleep(3600)
    if item == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if item == "grow":
        kept = []
        while True:
            kept.append(np.ones(1 << 20))  # 8 MiB
    if item == "exhaust":
        np.ones(1 << 50)
    if item == "raise":
        raise NeedsTwo("a", "b")
    return item


class NeedsTwo(Exception):
    """Cannot be unpickled, as many a library's exceptions."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def touch(item: str, *, folder: str) -> None:
    (Path(folder) / item).touch()


@pytest.mark.parametrize("name", ["serial", "processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_results_come_in_order_and_an_error_in_its_place(name: str) -> None:
    runner = make_runner(name, 2)  # type: ignore[arg-type]
    results = list(runner.map(double, [1, 2, 3, 4], offset=10))
    results = [replace(result, node=None) if isinstance(result, Failure) else result for result in results]
    assert results == [12, 14, Failure(item=3, reason="error", detail="ValueError: three is bad"), 18]
    assert runner.name == name


def wait_for(item: str, *, folder: str) -> str:
    """The first waits until the last has begun, or for a minute."""
    (Path(folder) / item).touch()
    deadline = time.monotonic() + 60
    while item == "00" and not (Path(folder) / "19").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return item


@pytest.mark.parametrize("name", ["processes", pytest.param("ray", marks=pytest.mark.drill)])
def test_no_item_waits_for_one_that_takes_long_unless_they_come_in_order(name: RunnerName, tmp_path: Path) -> None:
    items = [f"{number:02d}" for number in range(20)]
    outcomes = list(make_runner(name, 2).map_unordered(wait_for, items, folder=str(tmp_path)))
    assert sorted(outcomes) == list(enumerate(items))
    assert outcomes.index((0, "00")) >= 18  # all but those that run beside it
    assert list(make_runner("serial").map_unordered(str.upper, ["a", "b"])) == [(0, "A"), (1, "B")]


def test_a_system_error_is_told_without_the_path(tmp_path: Path) -> None:
    (failure,) = make_runner("serial").map(touch, ["a"], folder=str(tmp_path / "Jane Doe"))
    assert failure == Failure(item="a", reason="error", detail="FileNotFoundError: No such file or directory", errno=2)


def killed_from_outside(item: str, *, folder: str, times: int) -> str:
    """Note each try, and die by SIGKILL in the first ones, as where the kernel has no memory left."""
    if item == "victim":
        tries = len(os.listdir(folder))
        (Path(folder) / str(tries)).touch()
        if tries < times:
            time.sleep(0.5)  # as no decoder dies in the moment it begins
            os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.parametrize("name", ["processes", pytest.param("ray", marks=pytest.mark.drill)])
def test_an_item_whose_worker_is_killed_is_tried_again_and_then_lost(name: str, tmp_path: Path) -> None:
    runner: Runner = make_runner(name, 2)  # type: ignore[arg-type]
    (tmp_path / "twice").mkdir()
    items = ["a", "victim", "b"]
    assert list(runner.map(killed_from_outside, items, folder=str(tmp_path / "twice"), times=2)) == items
    assert sorted(os.listdir(tmp_path / "twice")) == ["0", "1", "2"]
    (tmp_path / "always").mkdir()
    first, failure, last = runner.map(killed_from_outside, items, folder=str(tmp_path / "always"), times=100)
    assert (first, last) == ("a", "b")
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.detail.split(";")[0]) == ("lost", "the worker process was killed from outside (SIGKILL)")
    assert len(os.listdir(tmp_path / "always")) == 4


def short_of_memory(item: str, *, folder: str) -> str:
    """Note each try, and find no memory in the first one, as where a neighbour has taken it."""
    with open(Path(folder) / item, "a") as tries:
        tries.write("x")
    if item != "a" and (Path(folder) / item).stat().st_size == 1:
        if item == "killed":
            os._exit(OUT_OF_MEMORY_EXIT_CODE)
        raise MemoryError
    return item


@pytest.mark.parametrize("name", ["processes", pytest.param("ray", marks=pytest.mark.drill)])
def test_an_item_that_finds_no_memory_is_tried_once_more(name: RunnerName, tmp_path: Path) -> None:
    runner = make_runner(name, 2)
    items = ["a", "killed", "refused"]
    assert list(runner.map(short_of_memory, items, folder=str(tmp_path), max_memory_mb=600)) == items
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "x", "killed": "xx", "refused": "xx"}


HEAVY = """
import time
import numpy as np

held = np.ones(50 << 20)  # 400 MiB

def take(mib: int) -> int:
    taken = np.ones(mib << 17)
    time.sleep(0.3)
    return mib
"""
TAKE = """
import heavy
from flows.runners import make_runner

if __name__ == "__main__":
    print([getattr(one, "reason", one) for one in make_runner("processes", 2).map(heavy.take, [1, 80, 350], max_memory_mb=300)])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forks on Linux only")
def test_a_worker_is_not_charged_for_memory_that_it_shares_with_the_others(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text(HEAVY)
    (tmp_path / "take.py").write_text(TAKE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "take.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[1, 80, 'memory']\n", done.stderr


MISBEHAVIOUR = ["a", "crash", "b", "hang", "stop", "c", "grow", "exhaust", "raise", "d"]
WHAT_BECOMES_OF_IT = [
    "a",
    Failure(item="crash", reason="crash", detail="the worker process died with exit code -11"),
    "b",
    Failure(item="hang", reason="timeout", detail="took longer than 8 s"),
    Failure(item="stop", reason="timeout", detail="took longer than 8 s"),
    "c",
    Failure(item="grow", reason="memory", detail="needed more than 600 MiB of memory"),
    "memory",
    Failure(item="raise", reason="error", detail="NeedsTwo: ab"),
    "d",
]


@pytest.mark.parametrize("name", ["processes", pytest.param("ray", marks=pytest.mark.drill)])
def test_whatever_an_item_does_to_its_worker_is_its_own_failure_and_the_others_go_on(name: str) -> None:
    runner: Runner = make_runner(name, 2)  # type: ignore[arg-type]
    results = list(runner.map(misbehave, MISBEHAVIOUR, timeout_s=8, max_memory_mb=600))
    results = [replace(result, node=None) if isinstance(result, Failure) else result for result in results]
    exhausted = results[7]
    assert isinstance(exhausted, Failure)
    results[7] = exhausted.reason  # NumPy's words are its own
    assert results == WHAT_BECOMES_OF_IT


def wait_for_ever(item: int, *, folder: str) -> None:
    (Path(folder) / "worker").write_text(str(os.getpid()))
    time.sleep(3600)


def test_workers_do_not_outlive_a_killed_run(tmp_path: Path) -> None:
    script = f"""
from flows.runners.runners import make_runner
from tests.flows.runners.test_runners import wait_for_ever
if __name__ == "__main__":
    list(make_runner("processes", 1).map(wait_for_ever, [0], folder={str(tmp_path)!r}))
"""
    run = subprocess.Popen([sys.executable, "-c", script])
    noted = tmp_path / "worker"
    while not (noted.exists() and noted.read_text()):
        assert run.poll() is None
        time.sleep(0.02)
    worker = Path("/proc") / noted.read_text()
    assert worker.exists()
    run.kill()
    run.wait()
    while worker.exists() and "(zombie)" not in (worker / "status").read_text():
        time.sleep(0.02)


def test_more_items_than_are_in_flight_at_once_are_all_done(tmp_path: Path) -> None:
    names = [f"{number:03d}" for number in range(40)]
    assert list(make_runner("processes", 2).map(touch, names, folder=str(tmp_path))) == [None] * 40
    assert sorted(os.listdir(tmp_path)) == names


def own_process(item: int) -> int:
    return os.getpid()


def test_workers_are_reused_where_asked_and_survive_a_crash_of_one() -> None:
    runner = make_runner("processes", 1)
    with runner.reuse_workers():
        first, second = ([*runner.map(own_process, [0])] for _ in range(2))
        crashed = list(runner.map(misbehave, ["crash"]))
        third = list(runner.map(own_process, [0]))
    assert first == second
    assert crashed == [Failure(item="crash", reason="crash", detail="the worker process died with exit code -11")]
    assert isinstance(third[0], int)
    assert third != first
    assert [*runner.map(own_process, [0])] not in (first, third)


def test_leaving_early_does_not_wait_for_the_rest() -> None:
    results = make_runner("processes", 2).map(misbehave, ["a", "hang", "hang"])
    started = time.monotonic()
    assert next(results) == "a"
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 60


def blocks_interrupts(item: int) -> bool:
    # set for the process that started this one, which has no handler while it imports
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("num_workers", [1, 2])
def test_ctrl_c_reaches_neither_the_process_that_starts_workers_nor_them(num_workers: int) -> None:
    script = f"""
import signal
from flows.runners.runners import make_runner
from tests.flows.runners.test_runners import blocks_interrupts
if __name__ == "__main__":
    print(list(make_runner("processes", {num_workers}).map(blocks_interrupts, [1, 2])))
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""  # in a process of its own: another test may have started the process that starts workers
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.returncode) == ("[True, True]\nFalse\n", 0), done.stderr


def test_a_stage_that_needs_every_item_stops_at_a_failure() -> None:
    with pytest.raises(RuntimeError, match=r"shard failed on 3 \(error\): ValueError: three is bad"):
        list(successes(make_runner("serial").map(double, [1, 3], offset=0), stage="shard"))
