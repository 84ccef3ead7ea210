"""Connecting to a Ray cluster that others started, with and without a token."""

import os
import subprocess
import sys

import psutil
import pytest

pytest.importorskip("ray")

pytestmark = pytest.mark.slow

TWO_NODES = """
import time
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
time.sleep(600)
"""

FETCH = """
import ray
from pretrain.ray_cluster import start_ray
start_ray()
print(ray.get(ray.remote(lambda data: len(data)).remote(ray.put(b"x" * 1_000_000)), timeout=60))
"""


@pytest.mark.parametrize("cluster_mode", ["disabled", "token"])
def test_a_client_with_a_token_works_with_clusters_that_use_it_or_not(cluster_mode: str) -> None:
    """A node that has no token cannot fetch what a client with one holds, and the client would wait for ever."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_AUTH_TOKEN": "0" * 64, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    cluster = subprocess.Popen(
        [sys.executable, "-c", TWO_NODES], env=env | {"RAY_AUTH_MODE": cluster_mode}, stdout=subprocess.PIPE, text=True
    )
    assert cluster.stdout is not None
    try:
        address = cluster.stdout.readline().strip()
        client = subprocess.run(
            [sys.executable, "-c", FETCH], env=env | {"RAY_ADDRESS": address}, capture_output=True, text=True, timeout=120, check=False
        )
        assert client.stdout.strip().endswith("1000000"), client.stdout + client.stderr
    finally:
        for process in [*psutil.Process(cluster.pid).children(recursive=True), cluster]:
            process.kill()
        cluster.communicate(timeout=30)
