"""A Ray cluster of two nodes, of which one dies in mid-work or does not see what it should: no item is judged for that."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.runners import Failure
from flows.runners.attempt import WrongMachine
from flows.runners.runners import make_runner

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The head does no work, so that whichever node is at work may die."""
    from ray.cluster_utils import Cluster

    ray.shutdown()
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()  # type: ignore[no-untyped-call]


def raylet_of(node: Any) -> int:
    """Process id."""
    return int(node.all_processes["raylet"][0].process.pid)


def note_and_wait(item: int, *, folder: str, raylets: list[int]) -> int:
    """Note which node has begun an item; the first item ends when a node has died, or after two minutes."""
    raylet = next(process.pid for process in psutil.Process().parents() if process.pid in raylets)
    (Path(folder) / f"{item}-{raylet}-{time.monotonic_ns()}").touch()
    deadline = time.monotonic() + 120
    while item == 1 and not (Path(folder) / "node is dead").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return item


def test_items_of_a_node_that_dies_are_done_on_another(cluster: Any, tmp_path: Path) -> None:
    raylets = [raylet_of(cluster.add_node(num_cpus=1)) for _ in range(2)]
    runner = make_runner("ray", 1)
    killed = []

    def kill_the_node_at_work() -> None:
        deadline = time.monotonic() + 120
        while not (marks := list(tmp_path.glob("1-*"))) and time.monotonic() < deadline:
            time.sleep(0.1)
        killed.append(int(marks[0].name.split("-")[1]))
        os.kill(killed[0], signal.SIGKILL)
        time.sleep(3)
        (tmp_path / "node is dead").touch()

    killer = threading.Thread(target=kill_the_node_at_work)
    killer.start()
    results = list(runner.map(note_and_wait, [1, 2, 3], folder=str(tmp_path), raylets=raylets))
    killer.join()
    assert results == [1, 2, 3]
    nodes = {int(mark.name.split("-")[1]) for mark in tmp_path.glob("1-*")}
    assert nodes == set(raylets)  # begun on the one that died, and again on the other


def only_elsewhere(item: int, *, raylet: int) -> int:
    if raylet in {process.pid for process in psutil.Process().parents()}:
        raise WrongMachine("it does not see the archive")
    return item


def test_a_node_that_lacks_the_archive_gets_no_more_work(cluster: Any) -> None:
    second = cluster.add_node(num_cpus=2)
    cluster.add_node(num_cpus=1)
    runner = make_runner("ray", 1)
    items = list(range(6))
    assert list(runner.map(only_elsewhere, items, raylet=raylet_of(second))) == items
    cluster.remove_node(second)
    (failure,) = runner.map(everywhere, [1])
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.detail) == ("misplaced", "it does not see the archive")


def everywhere(item: int) -> int:
    raise WrongMachine("it does not see the archive")
