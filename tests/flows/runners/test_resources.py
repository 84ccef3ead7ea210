"""What items ask for limits how many run at once, and what no machine has is refused in a sentence."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.runners.ray_runner import ProcessBeside
from flows.runners.resources import ONE_CPU, Resources, check_fits
from flows.runners.runners import Runner, make_runner
from flows.stages.encoder_resources import encoder_device, encoder_resources
from tests.helpers.ingests import film
from tests.helpers.ray_nodes import foreign_cluster, without_ray

GB = 1_000_000_000


def test_the_scarcest_resource_says_how_many_items_fit() -> None:
    machine = Resources(cpus=16, gpus=2, memory_bytes=64 * GB)
    assert Resources(cpus=2).num_that_fit(machine) == 8
    assert Resources(gpus=0.3333).num_that_fit(machine) == 6
    assert Resources(memory_bytes=20 * GB).num_that_fit(machine) == 3
    assert Resources(gpus=1, memory_bytes=80 * GB).num_that_fit(machine) == 0


def test_a_request_that_no_machine_satisfies_is_a_sentence_with_both_sides() -> None:
    machines = [Resources(cpus=16, memory_bytes=64 * GB), Resources(cpus=16, memory_bytes=64 * GB), Resources(cpus=1, gpus=1)]
    check_fits(Resources(gpus=1), machines, where="the Ray cluster")
    with pytest.raises(ValueError, match="an item asks for") as refused:
        check_fits(Resources(cpus=2, gpus=1), machines, where="the Ray cluster")
    assert str(refused.value) == (
        "an item asks for 2 CPUs, 1 GPU, 0.0 GB of memory, which no machine has: "
        "the Ray cluster has 2 x (16 CPUs, no GPU, 64.0 GB of memory); "
        "1 x (1 CPU, 1 GPU, 0.0 GB of memory); add such a machine, or ask for less"
    )


def meets_another(item: int, *, folder: str, wait_s: float) -> bool:
    """Whether another item begins before this one ends, within some seconds."""
    mark = Path(folder) / str(item)
    mark.touch()
    deadline = time.monotonic() + wait_s
    while not (met := len(os.listdir(folder)) > 1) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # the other looks too
    mark.unlink()
    return met


@pytest.mark.parametrize("name", ["serial", "processes"])
def test_more_memory_than_this_machine_has_is_refused(name: str) -> None:
    runner: Runner = make_runner(name, 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"an item asks for 1 CPU, no GPU, .* GB of memory, which no machine has: this machine has 1 x"):
        list(runner.map(abs, [-1], resources=Resources(memory_bytes=2 * psutil.virtual_memory().total)))


@pytest.mark.slow
def test_memory_limits_the_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = make_runner("processes", 2)
    most = Resources(memory_bytes=int(0.6 * psutil.virtual_memory().total))
    assert list(runner.map(meets_another, [1, 2], resources=most, folder=str(tmp_path), wait_s=1)) == [False, False]
    assert "1 of 2 workers run at once: an item asks for 1 CPU, no GPU," in capsys.readouterr().err
    with runner.reuse_workers():
        assert list(runner.map(meets_another, [1, 2], folder=str(tmp_path), wait_s=60)) == [True, True]
        assert list(runner.map(meets_another, [1, 2], resources=most, folder=str(tmp_path), wait_s=1)) == [False, False]


@pytest.fixture(scope="module")
def ray_runner() -> Iterator[Runner]:
    """On a cluster of one node, which has three CPUs and says that it has a GPU."""
    ray = pytest.importorskip("ray")
    ray.shutdown()
    with foreign_cluster(3, env=without_ray(), num_gpus=1) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        yield make_runner("ray", 1)
        ray.shutdown()


def own_gpu(item: int) -> tuple[str | None, int]:
    time.sleep(0.2)
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.getpid()


@pytest.mark.slow
def test_cpus_limit_the_items_of_a_ray_node(ray_runner: Runner, tmp_path: Path) -> None:
    assert list(ray_runner.map(meets_another, [1, 2], folder=str(tmp_path), wait_s=60)) == [True, True]
    assert list(ray_runner.map(meets_another, [1, 2], resources=Resources(cpus=2), folder=str(tmp_path), wait_s=2)) == [False, False]


@pytest.mark.slow
def test_items_see_the_gpu_that_ray_gave_them_and_keep_their_processes(ray_runner: Runner) -> None:
    assert {gpu for gpu, _ in ray_runner.map(own_gpu, range(3))} == {None}  # type: ignore[misc]  # no item fails
    found = list(ray_runner.map(own_gpu, range(6), resources=Resources(gpus=0.5)))
    assert {gpu for gpu, _ in found} == {"0"}  # type: ignore[misc]
    assert len({process for _, process in found}) < 6  # type: ignore[misc]
    assert {gpu for gpu, _ in ray_runner.map(own_gpu, range(3))} == {None}  # type: ignore[misc]


@pytest.mark.slow
def test_what_no_ray_node_has_is_refused_instead_of_waited_for(ray_runner: Runner) -> None:
    with pytest.raises(ValueError, match=r"asks for 1 CPU, 2 GPUs, .* which no machine has: the Ray cluster has 1 x \(3 CPUs, 1 GPU, "):
        list(ray_runner.map(abs, [-1], resources=Resources(gpus=2)))
    with pytest.raises(ValueError, match=r"asks for 4 CPUs, no GPU"):
        list(ray_runner.map(abs, [-1], resources=Resources(cpus=4)))


@pytest.mark.slow
def test_an_encoder_asks_for_a_gpu_where_there_is_one(ray_runner: Runner) -> None:
    (node,) = ray_runner.machines()
    asked = encoder_resources(ray_runner, "auto")
    assert (asked.gpus, asked.num_that_fit(node), encoder_device(asked)) == (0.3333, 3, "cuda")
    assert encoder_resources(ray_runner, "cpu").gpus == 0
    assert encoder_device(ONE_CPU) == "cpu"


@pytest.mark.slow
def test_a_process_that_holds_a_gpu_ends_when_it_is_idle() -> None:
    beside = ProcessBeside(idle_s=2)

    def run(gpus: str | None) -> int:
        with beside.in_use(gpus) as runner:
            ((gpu, process),) = runner.map(own_gpu, [0])  # type: ignore[misc]  # it does not fail
        assert gpu == gpus
        return process

    first = run("0")
    assert run("0") == first
    other = run("1")
    assert not psutil.pid_exists(first)
    for _ in range(200):
        if not psutil.pid_exists(other):
            break
        time.sleep(0.1)
    assert not psutil.pid_exists(other)
    kept = run(None)
    time.sleep(4)
    assert run(None) == kept


INGEST = """
import sys
from pathlib import Path
from curation.ingest import IngestConfig
from flows.job import Job
from flows.runners import make_runner
from flows.stages.ingest import run_ingest
from warehouse.lake import open_lake
folder = Path(sys.argv[1])
with open_lake(folder / "lake", create=True) as lake:
    summary = run_ingest(Job(lake=lake, runner=make_runner("ray", 1)), [str(folder / "a.mp4")], config=IngestConfig(text="off", settle_s=0))
print(summary.num_ingested, "torch" in sys.modules)
"""


@pytest.mark.drill
def test_an_ingest_on_ray_does_not_load_torch(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    run = subprocess.run(
        [sys.executable, "-c", INGEST, str(tmp_path)], env=without_ray(), capture_output=True, text=True, timeout=300, check=False
    )
    assert run.stdout.split() == ["1", "False"], run.stdout + run.stderr
