"""Processes that a flow forks, in a real flow with a real DataLoader."""

import subprocess
import sys

import pytest

FLOW = """
import flows.pipeline
from prefect import flow
from torch.utils.data import DataLoader

def load():
    return [int(one) for one in DataLoader(list(range(4)), num_workers=2)]

@flow
def in_flow():
    print("in flow", load())

in_flow()
print("after it", load())
"""


@pytest.mark.slow
def test_loader_processes_of_a_flow_end_well() -> None:
    done = subprocess.run([sys.executable, "-c", FLOW], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "[0, 1, 2, 3]" in line] == ["in flow [0, 1, 2, 3]", "after it [0, 1, 2, 3]"]
