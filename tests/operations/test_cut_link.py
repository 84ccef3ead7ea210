"""A whole run on two machines whose cable is cut three times makes what one machine makes."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(5400),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None, reason="needs root, ip, unshare"
    ),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name: the path of a Ray socket below it has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="cut") as name:
        yield Path(name)


def test_a_cable_that_is_cut_in_three_stages_changes_nothing(folder: Path) -> None:
    apart = ("unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child")
    command = [*apart, sys.executable, "-m", "tests.operations.drill_cut_link", str(folder / "d")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert [line.split(":")[0] for line in said.splitlines() if line.startswith("cut in")] == [
        f"cut in {stage}" for stage in ("ingest", "embed", "pretrain")
    ]
    assert "training starts again from the last checkpoint" in said
    for name in ("dataset", "frames", "rejects"):
        assert f"{name}: the same" in said
    assert "60 steps, each once" in said
    assert float(said.split("each once, ")[1].split()[0]) < 1e-5  # rounding of sums in another order
