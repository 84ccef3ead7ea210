"""Checkpoints scored beside training, by somebody who is late; tests/pretrain/test_launch.py has Ray Train's own validation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain.beside import awaited, forget_failures, score_beside, take_last_scores
from pretrain.checkpoint import whole_checkpoints
from pretrain.config import CheckpointConfig, PretrainConfig
from pretrain.failures import TrainingError
from pretrain.metrics import read_metrics
from pretrain.notices import notices_after
from pretrain.trainer import train

Validate = Callable[[str], tuple[str, float]]
SCORES = {0: 0.1, 1: 0.9, 2: 0.2, 3: 0.5, 4: 0.3, 5: 0.6, 6: 0.4, 7: 0.1, 8: 0.3}


def step_of(folder: str) -> int:
    name = Path(folder).parent.name
    return int(name.removeprefix("step_")) if name.startswith("step_") else 0


def told_score(folder: str) -> tuple[str, float]:
    return "told/val/score", SCORES[step_of(folder)]


def fails_at_1_and_5(folder: str) -> tuple[str, float]:
    if step_of(folder) in (1, 5):
        raise RuntimeError("the labels\nare gone")
    return told_score(folder)


class Late:
    """Scores a checkpoint when `behind` later ones have been asked for."""

    def __init__(self, run_dir: Path, validate: Validate, *, behind: int) -> None:
        self.run_dir, self.validate, self.behind = run_dir, validate, behind
        self.asked: list[str] = []

    def __call__(self, name: str | None) -> None:
        assert name is not None
        self.asked.append(name)
        if len(self.asked) > self.behind:
            score_beside(self.run_dir, self.asked.pop(0), self.validate)

    def catch_up(self) -> None:
        for name in self.asked:
            score_beside(self.run_dir, name, self.validate)


@pytest.fixture(scope="module")
def eight(micro: PretrainConfig) -> PretrainConfig:
    checkpoint = CheckpointConfig(every=1, keep_best=2, keep_every=4)
    return dataclasses.replace(micro, train=dataclasses.replace(micro.train, num_steps=8), checkpoint=checkpoint)


def run_beside(config: PretrainConfig, dataset_dir: Path, run_dir: Path, validate: Validate, *, behind: int) -> None:
    late = Late(run_dir, validate, behind=behind)
    train(config, dataset_dir=dataset_dir, run_dir=run_dir, run_id="r", validate=None, use_gpu=False, ask=late)
    late.catch_up()
    take_last_scores(run_dir, config)


def kept(run_dir: Path) -> list[tuple[int, float]]:
    return [(saved.step, saved.validation_score) for saved in whole_checkpoints(run_dir)]


def curve(run_dir: Path) -> list[tuple[int, str, float]]:
    return sorted(row for row in read_metrics(run_dir / "metrics.jsonl") if row[1].startswith(("validation/", "loss/total")))


@pytest.mark.parametrize("behind", [1, 3])
def test_scores_choice_and_kept_checkpoints_are_those_of_a_run_validated_inside(
    behind: int, eight: PretrainConfig, dataset_dir: Path, tmp_path: Path
) -> None:
    inside, beside = tmp_path / "inside", tmp_path / "beside"
    train(eight, dataset_dir=dataset_dir, run_dir=inside, run_id="r", validate=told_score, use_gpu=False)
    run_beside(eight, dataset_dir, beside, told_score, behind=behind)
    assert kept(beside) == kept(inside) == [(1, 0.9), (4, 0.3), (5, 0.6), (8, 0.3)]
    assert curve(beside) == curve(inside)
    assert (beside / "best.json").read_text() == (inside / "best.json").read_text()
    assert not (beside / "checkpoints" / "untrained").exists()


def test_a_failed_validation_is_said_once_and_the_run_ends_with_the_rest(eight: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    run_beside(eight, dataset_dir, tmp_path, fails_at_1_and_5, behind=2)
    assert kept(tmp_path) == [(3, 0.5), (4, 0.3), (6, 0.4), (8, 0.3)]
    said = [sentence for sentence in notices_after(tmp_path, 0)[0] if "no score" in sentence]
    assert said == [
        f"the checkpoint of step {step} has no score, because its validation failed (RuntimeError: the labels are gone); the run goes on"
        for step in (1, 5)
    ]


def test_a_checkpoint_that_awaits_its_score_is_never_deleted_and_is_asked_for_again(
    eight: PretrainConfig, dataset_dir: Path, tmp_path: Path
) -> None:
    asked: list[str] = []
    arguments = {"dataset_dir": dataset_dir, "run_dir": tmp_path, "run_id": "r", "validate": None, "use_gpu": False}
    train(eight, **arguments, ask=asked.append)  # type: ignore[arg-type]  # nobody scores: killed before the first one
    assert asked == ["untrained", *(f"step_000000{step}" for step in range(1, 9))]
    assert awaited(tmp_path) == asked
    with pytest.raises(TrainingError, match=r"step_0000008 in .* have no score yet; the same command validates what has none"):
        take_last_scores(tmp_path, eight)
    late = Late(tmp_path, told_score, behind=0)
    train(eight, **arguments, ask=late)  # type: ignore[arg-type]
    take_last_scores(tmp_path, eight)
    assert kept(tmp_path) == [(1, 0.9), (4, 0.3), (5, 0.6), (8, 0.3)]


def test_the_guard_stops_a_run_by_late_scores_and_says_where_training_is(eight: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "baseline.json").write_text('{"metric": "told/val/score", "score": 2.0}')
    late = r"0\.900 at step 1, 0\.200 at step 2 \(training is at step [3-8], as checkpoints are scored beside it\), more than 0\.05 below"
    with pytest.raises(TrainingError, match=late):
        run_beside(eight, dataset_dir, tmp_path, told_score, behind=3)


def _end(folder: str) -> tuple[str, float]:
    raise KeyboardInterrupt  # as its process ends: nothing after it runs


def test_a_validation_whose_process_ends_twice_has_failed_until_the_run_is_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "step_0000003"
    (folder / "backbone").mkdir(parents=True)
    (folder / "backbone" / "model.safetensors").write_bytes(b"weights")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            score_beside(tmp_path, folder.name, _end)
        assert not (folder / "validation.json").exists()
    assert score_beside(tmp_path, folder.name, told_score) == {}
    assert "its process ended 2 times" in json.loads((folder / "validation.json").read_text())["failure"]
    forget_failures(tmp_path)
    assert score_beside(tmp_path, folder.name, told_score) == {"validation/told/val/score": 0.5, "validation/score": 0.5}
