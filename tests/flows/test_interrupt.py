"""Ctrl-C and SIGTERM in `endoforge run`, at every stage: one sentence, an exit code, and no process left; and no network at any.

`make test` interrupts the demo once (tests/flows/conftest.py); this is the long form.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.flows.conftest import make_archive
from tests.helpers.interrupted import SENTENCE, Running
from warehouse.lake import open_lake

pytestmark = pytest.mark.drill
WITHIN_S = 5.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    make_archive(folder / "archive", names=[f"{name}.mp4" for name in "abcdef"])
    return folder


@pytest.fixture
def run(place: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    arguments = ["run", str(place / "archive"), "--lake", str(place / "lake"), "--size", "64", "--recipe", request.param]
    running = Running([*arguments, "--ingest.fps", "4", "--ingest.text", "off", "--workers", "2"], folder=tmp_path)
    yield running
    running.kill()


# in this order: each run goes on from what the one before it has finished
@pytest.mark.parametrize(
    ("run", "said", "number", "code"),
    [
        ("smoke", "hash videos: 6/6", signal.SIGINT, 130),  # ingest
        ("smoke", "ingest: 6 files", signal.SIGINT, 130),  # embed
        ("smoke", "embed: (\\d+ frames|every kept)", signal.SIGINT, 130),  # curate
        ("smoke", "shard: ", signal.SIGTERM, 143),  # pretrain, while it starts
        ("demo", "pretrain: step \\d", signal.SIGINT, 130),  # while it learns
    ],
    indirect=["run"],
)
def test_an_interrupted_run_says_one_sentence_and_leaves_no_process(run: Running, said: str, number: signal.Signals, code: int) -> None:
    run.wait_for(said)
    ended = run.end(number)
    assert (ended.code, ended.said, ended.left) == (code, [SENTENCE], [])
    assert ended.seconds < WITHIN_S


@pytest.mark.parametrize("run", ["smoke"], indirect=True)
def test_the_run_after_it_goes_on_to_the_end(run: Running, place: Path) -> None:
    run.wait(timeout=400)
    with open_lake(place / "lake", read_only=True) as lake:
        metrics = {row["validation_metric"] for row in lake.rows("SELECT validation_metric FROM checkpoints")}
        in_ray = lake.rows("SELECT run_id FROM runs WHERE stage = 'pretrain' AND ray_job_id IS NOT NULL")
    assert metrics == {"views/matching"}
    assert torch.cuda.is_available() or in_ray == []  # one worker on CPUs
