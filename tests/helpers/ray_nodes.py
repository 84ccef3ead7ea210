"""A Ray cluster that another process started, as an administrator would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil

__all__ = ["foreign_cluster", "without_ray"]

_NODES = """
import sys, time
from ray.cluster_utils import Cluster
num_gpus, head, *others = map(int, sys.argv[1:])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head, "num_gpus": num_gpus, "include_dashboard": False})
for num_cpus in others:
    cluster.add_node(num_cpus=num_cpus)
print(cluster.address, flush=True)
time.sleep(1800)
"""


@contextmanager
def foreign_cluster(*num_cpus: int, env: Mapping[str, str], num_gpus: int = 0) -> Iterator[str]:
    """Nodes with that many CPUs each, the head, which says that it has GPUs, first; gives the address and kills all of it at the end."""
    environment = {**env, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    command = [sys.executable, "-c", _NODES, *map(str, (num_gpus, *num_cpus))]
    cluster = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert cluster.stdout is not None
    try:
        yield cluster.stdout.readline().strip()
    finally:
        for process in [*psutil.Process(cluster.pid).children(recursive=True), cluster]:
            process.kill()
        cluster.communicate(timeout=30)


def without_ray() -> dict[str, str]:
    """This environment without Ray's variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
