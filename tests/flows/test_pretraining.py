"""Pretraining through the command line: killed with its workers at several moments, then typed again."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.flows.conftest import Demo, kill_when, succeed
from warehouse.lake import open_lake

pytestmark = pytest.mark.slow


def trained(lake: Path) -> tuple[list[dict[str, object]], list[dict[str, object]], bytes]:
    """The losses and scores of the run with seed 1, its checkpoints, and the weights of the last one."""
    with open_lake(lake, read_only=True) as opened:
        (run,) = opened.rows("SELECT run_id FROM runs WHERE stage = 'pretrain' AND seed = 1 AND status = 'complete'")
        metrics = opened.rows(
            "SELECT step, name, value FROM train_metrics WHERE run_id = $run_id AND name NOT LIKE 'speed/%' ORDER BY ALL", run
        )
        checkpoints = opened.rows(
            "SELECT step, validation_metric, validation_score, is_best, path FROM checkpoints WHERE run_id = $run_id ORDER BY step", run
        )
    weights = (lake / str(checkpoints[-1]["path"]) / "model.safetensors").read_bytes()
    return metrics, checkpoints, weights


@pytest.mark.parametrize("runner", ["serial", "processes"])
def test_a_killed_training_ends_like_one_that_was_not(runner: str, demo: Demo, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for lake in (killed, whole):
        shutil.copytree(demo.lake, lake)
    (before,) = (demo.lake / "runs").glob("pretrain-*")

    def command(lake: Path) -> list[str]:
        return ["pretrain", "--lake", str(lake), "--dataset", "phantom", "--recipe", "smoke", "--train.seed", "1", "--runner", runner]

    def there_is(pattern: str) -> bool:
        return any(run.name != before.name and any(run.glob(pattern)) for run in (killed / "runs").glob("pretrain-*"))

    moments = ("metrics.jsonl", "checkpoints/step_0000003", "checkpoints/step_0000006")
    kills = [kill_when(command(killed), partial(there_is, moment)) for moment in moments]
    assert sum(kills) >= 2
    succeed(*command(killed))
    succeed(*command(whole))
    assert trained(killed) == trained(whole)
