"""Connecting to a Ray cluster that others started, with and without a token."""

import subprocess
import sys

import pytest

from tests.helpers.ray_nodes import foreign_cluster, without_ray

pytest.importorskip("ray")

pytestmark = pytest.mark.slow

FETCH = """
import ray
from flows.runners import start_ray
start_ray()
print(ray.get(ray.remote(lambda data: len(data)).remote(ray.put(b"x" * 1_000_000)), timeout=60))
"""


@pytest.mark.parametrize("cluster_mode", ["disabled", "token"])
def test_a_client_with_a_token_works_with_clusters_that_use_it_or_not(cluster_mode: str) -> None:
    """A node that has no token cannot fetch what a client with one holds, and the client would wait for ever."""
    env = without_ray() | {"RAY_AUTH_TOKEN": "0" * 64, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    with foreign_cluster(0, 1, env=env | {"RAY_AUTH_MODE": cluster_mode}) as address:
        client = subprocess.run(
            [sys.executable, "-c", FETCH], env=env | {"RAY_ADDRESS": address}, capture_output=True, text=True, timeout=120, check=False
        )
    assert client.stdout.strip().endswith("1000000"), client.stdout + client.stderr
