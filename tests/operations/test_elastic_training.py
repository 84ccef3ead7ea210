"""A machine of two is lost while both train, and another comes: one command, and the losses of a run that nothing disturbed."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pretrain.launch import pretrain
from pretrain.metrics import newest_row, read_metrics
from pretrain.notices import notices_after
from tests.helpers.micro_recipe import micro_recipe
from tests.helpers.ray_nodes import without_ray
from tests.helpers.shards import picture, write_dataset

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1200)]

NUM_STEPS = 150
_NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
node = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
for line in sys.stdin:
    if line == "lose\\n":
        cluster.remove_node(node, allow_graceful=False)
    else:
        node = cluster.add_node(num_cpus=1)
    print("done", flush=True)
"""


@contextlib.contextmanager
def two_nodes() -> Iterator["subprocess.Popen[str]"]:
    environment = {**without_ray(), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    command = [sys.executable, "-c", _NODES]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nodes:
        try:
            yield nodes
        finally:
            for process in [*psutil.Process(nodes.pid).children(recursive=True), nodes]:
                process.kill()


def _wait_then_score(folder: str) -> tuple[str, float]:
    """Let each checkpoint take a second, so that a run of small steps lasts as long as machines need to come and go."""
    time.sleep(1)
    return "constant", 0.5


def test_a_lost_node_and_a_new_one_change_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    micro = micro_recipe()
    config = dataclasses.replace(
        micro,
        train=dataclasses.replace(micro.train, num_steps=NUM_STEPS),
        checkpoint=dataclasses.replace(micro.checkpoint, every=1, validate_start=False),
    )
    dataset = write_dataset(tmp_path / "set", [picture(number) for number in range(48)], 16)
    told: dict[str, Any] = {"dataset_dir": dataset, "run_id": "r"}
    straight = pretrain(config, run_dir=tmp_path / "straight", validate=None, backend="local", **told)
    moments: dict[str, float] = {}
    with two_nodes() as nodes:
        assert nodes.stdout is not None
        assert nodes.stdin is not None
        address = nodes.stdout.readline().strip()
        monkeypatch.setenv("RAY_ADDRESS", address)
        ray.init(address=address, log_to_driver=False)
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
        metrics = tmp_path / "run" / "metrics.jsonl"

        def ask(word: str) -> None:
            print(word, file=nodes.stdin, flush=True)
            assert nodes.stdout is not None
            assert nodes.stdout.readline() == "done\n"
            moments[word] = time.monotonic()

        def disturb() -> None:
            wait_for_step(metrics, 20)
            moments["step_at_loss"] = newest(metrics)
            ask("lose")
            wait_for_step(metrics, newest(metrics) + 20)
            moments["goes_on"] = time.monotonic()
            ask("add")

        thread = threading.Thread(target=disturb, daemon=True)
        thread.start()
        try:
            elastic = pretrain(
                config, run_dir=tmp_path / "run", validate=_wait_then_score, num_workers=2, min_workers=1, on_one_machine=False, **told
            )
        finally:
            ray.shutdown()
    said, _ = notices_after(tmp_path / "run", 0)
    print(f"{moments['goes_on'] - moments['lose']:.0f} s until the run had gone on by 20 steps; {said}", os.getloadavg())
    assert [sentence for sentence in said if "with 1 workers instead of 2" in sentence]
    assert [sentence for sentence in said if "with 2 workers instead of 1" in sentence]
    ours, theirs = losses(elastic.metrics_path), losses(straight.metrics_path)
    assert [step for step, _ in ours] == list(range(1, NUM_STEPS + 1))
    assert [value for _, value in ours] == pytest.approx([value for _, value in theirs], abs=1e-3)  # rounding


def newest(metrics: Path) -> int:
    row = newest_row(metrics)
    return row[0] if row else 0


def wait_for_step(metrics: Path, step: int) -> None:
    while not metrics.exists() or newest(metrics) < step:
        time.sleep(0.2)


def losses(metrics: Path) -> list[tuple[int, float]]:
    return [(step, value) for step, name, value in read_metrics(metrics) if name == "loss/total"]
