from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest
import safetensors.torch
import torch

from pretrain.config import PretrainConfig
from pretrain.data import ShardReader, StepBatches
from pretrain.launch import PretrainResult, pretrain
from pretrain.metrics import read_metrics
from pretrain.notices import notices_after
from pretrain.parallel import current_worker
from pretrain.state import build_state, state_tensors
from pretrain.trainer import NonFiniteError, Trainer
from tests.helpers.shards import picture, write_dataset


def score_by_weights(folder: str, *, scale: float = 1.0) -> tuple[str, float]:
    """A number that follows from the exported weights."""
    weights = safetensors.torch.load_file(f"{folder}/model.safetensors")
    return "weights", scale * float(sum(tensor.double().abs().sum() for tensor in weights.values()))


VALIDATE = partial(score_by_weights, scale=1e-3)


def run(config: PretrainConfig, dataset_dir: Path, run_dir: Path, **changed: Any) -> PretrainResult:
    arguments: dict[str, Any] = {"run_id": "r1", "validate": VALIDATE, "backend": "local"} | changed
    return pretrain(config, dataset_dir=dataset_dir, run_dir=run_dir, **arguments)


def learned(run_dir: Path) -> list[tuple[int, str, float]]:
    """Every metric that follows from the seed."""
    return [row for row in read_metrics(run_dir / "metrics.jsonl") if not row[1].startswith("speed/")]


@pytest.fixture(scope="module")
def cache() -> dict[str, Path]:
    return {}


@pytest.fixture
def uninterrupted(micro: PretrainConfig, dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory, cache: dict[str, Path]) -> Path:
    if "run" not in cache:
        cache["run"] = tmp_path_factory.mktemp("whole") / "run"
        run(micro, dataset_dir, cache["run"])
    return cache["run"]


def test_a_run_leaves_checkpoints_scores_metrics_and_exactly_one_best(
    micro: PretrainConfig, dataset_dir: Path, uninterrupted: Path
) -> None:
    result = run(micro, dataset_dir, uninterrupted)
    assert [checkpoint.step for checkpoint in result.checkpoints] == [3, 6, 9]
    assert result.num_steps == 9
    best = max(result.checkpoints, key=lambda checkpoint: checkpoint.validation_score)
    assert [checkpoint.step for checkpoint in result.checkpoints if checkpoint.is_best] == [best.step]
    assert json.loads((uninterrupted / "best.json").read_text())["step"] == best.step
    for checkpoint in result.checkpoints:
        assert VALIDATE(checkpoint.path) == ("weights", checkpoint.validation_score)
        assert checkpoint.validation_metric == "weights"
    rows = {(step, name): value for step, name, value in read_metrics(result.metrics_path)}
    assert {step for step, name in rows if name == "validation/weights"} == {0, 3, 6, 9}
    for name in (
        "loss/total", "loss/dino_global", "loss/dino_local", "loss/ibot", "loss/koleo", "teacher/entropy", "grad_norm/backbone",
        "grad_norm/dino_head", "grad_norm/ibot_head", "schedule/lr", "schedule/weight_decay", "schedule/teacher_momentum",
        "schedule/teacher_temperature", "speed/images_per_s", "speed/data_wait_share", "speed/tflops",
    ):  # fmt: skip
        assert [step for step, found in rows if found == name] == list(range(1, 10)), name
    assert list(uninterrupted.glob("events.out.tfevents.*"))


def test_a_finished_run_returns_at_once_and_computes_nothing(micro: PretrainConfig, dataset_dir: Path, uninterrupted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
    first, again = (run(micro, dataset_dir, uninterrupted, validate=_fail) for _ in range(2))
    assert first == again
    assert before == {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}


def _fail(folder: str) -> tuple[str, float]:
    raise AssertionError(f"{folder} is validated again")


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(
    micro: PretrainConfig, dataset_dir: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run(micro, dataset_dir, tmp_path / "again")
    assert learned(tmp_path / "again") == learned(uninterrupted)
    other = dataclasses.replace(micro, train=dataclasses.replace(micro.train, seed=6))
    run(other, dataset_dir, tmp_path / "other")
    assert learned(tmp_path / "other") != learned(uninterrupted)


class _Stop(Exception):
    pass


def _stop_at(step: int, done: int, total: int, values: dict[str, float]) -> None:
    if done == step:
        raise _Stop


@pytest.mark.parametrize("step", [2, 5, 8])
def test_a_run_that_stopped_anywhere_continues_to_the_same_losses(
    step: int, micro: PretrainConfig, dataset_dir: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    with pytest.raises(_Stop):
        run(micro, dataset_dir, tmp_path / "run", progress=partial(_stop_at, step))
    resumed: list[int] = []
    run(micro, dataset_dir, tmp_path / "run", progress=lambda done, total, values: resumed.append(done))
    assert resumed[0] == step // 3 * 3 + 1
    assert sorted(learned(tmp_path / "run")) == sorted(learned(uninterrupted))
    weights = "checkpoints/step_0000009/backbone/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (uninterrupted / weights).read_bytes()


def test_an_interrupted_validation_is_done_again_without_training_again(
    micro: PretrainConfig, dataset_dir: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    def interrupted(folder: str) -> tuple[str, float]:
        if "step_0000006" in folder:
            raise _Stop
        return VALIDATE(folder)

    with pytest.raises(_Stop):
        run(micro, dataset_dir, tmp_path / "run", validate=interrupted)
    resumed: list[int] = []
    run(micro, dataset_dir, tmp_path / "run", progress=lambda done, total, values: resumed.append(done))
    assert resumed[0] == 7
    assert sorted(learned(tmp_path / "run")) == sorted(learned(uninterrupted))


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    micro: PretrainConfig, dataset_dir: Path, uninterrupted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(_Stop):
        run(micro, dataset_dir, tmp_path / "run", progress=partial(_stop_at, 8))
    (state,) = (tmp_path / "run" / "checkpoints" / "step_0000006" / "state").iterdir()
    with state.open("r+b") as file:  # one byte of a weight
        file.seek(state.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    resumed: list[int] = []
    run(micro, dataset_dir, tmp_path / "run", progress=lambda done, total, values: resumed.append(done))
    assert resumed[0] == 4
    assert f"the checkpoint of step 6 is damaged (the content of state/{state.name} has changed)" in caplog.text
    assert "going on from the one of step 3" in caplog.text
    assert (tmp_path / "run" / "checkpoints" / "damaged_step_0000006").is_dir()
    assert [sentence for sentence in notices_after(tmp_path / "run", 0)[0] if "step 6 is damaged" in sentence]
    assert sorted(learned(tmp_path / "run")) == sorted(learned(uninterrupted))


def test_a_folder_of_another_run_is_refused_with_the_difference(micro: PretrainConfig, dataset_dir: Path, uninterrupted: Path) -> None:
    other = dataclasses.replace(micro, train=dataclasses.replace(micro.train, seed=6))
    with pytest.raises(ValueError, match=r"train\.seed was 5 and is now 6"):
        run(other, dataset_dir, uninterrupted)
    with pytest.raises(ValueError, match=r"run_id was 'r1' and is now 'r2'"):
        run(micro, dataset_dir, uninterrupted, run_id="r2")


def test_records_name_paths_relative_to_the_lake(micro: PretrainConfig, dataset_dir: Path, uninterrupted: Path) -> None:
    result = run(micro, dataset_dir, uninterrupted, lake_root=uninterrupted.parent)
    assert result.checkpoints[0].path == "run/checkpoints/step_0000003/backbone"


def test_a_run_without_validation_takes_its_newest_checkpoint_for_the_best_and_gives_the_threads_back(
    micro: PretrainConfig, dataset_dir: Path, tmp_path: Path
) -> None:
    cv2.setNumThreads(2)
    result = run(micro, dataset_dir, tmp_path / "run", validate=None)
    assert (cv2.getNumThreads(), torch.get_num_threads()) == (2, 1)
    cv2.setNumThreads(1)
    assert [(c.step, c.is_best) for c in result.checkpoints] == [(3, False), (6, False), (9, True)]


@pytest.mark.parametrize("variant", ["shared head", "softmax", "no local crops"])
def test_variants_of_the_recipe_train(variant: str, micro: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    changed = {
        "shared head": dataclasses.replace(micro, ibot_head=None),
        "softmax": dataclasses.replace(micro, loss=dataclasses.replace(micro.loss, centering="softmax")),
        "no local crops": dataclasses.replace(micro, augment=dataclasses.replace(micro.augment, num_local=0)),
    }[variant]
    result = run(changed, dataset_dir, tmp_path / "run")
    losses = [value for _, name, value in read_metrics(result.metrics_path) if name == "loss/total"]
    assert len(losses) == 9  # every one finite, or it would not be there


def test_a_run_with_too_many_unreadable_samples_names_their_shards(micro: PretrainConfig, tmp_path: Path) -> None:
    jpegs = [picture(number) if number < 10 else b"no jpeg" for number in range(14)]
    folder = write_dataset(tmp_path / "shards" / "bad", jpegs, 5)
    strict = dataclasses.replace(micro, train=dataclasses.replace(micro.train, max_unreadable=0.0))
    with pytest.raises(ValueError, match=r"tiny set é-000002\.tar \(\d\) of .*`endoforge verify --lake \S+ tiny` says what is wrong"):
        run(strict, folder, tmp_path / "run")
    assert run(micro, folder, tmp_path / "run").num_steps == 9  # a higher limit continues the run


def test_a_loss_that_stays_non_finite_stops_the_run_after_three_steps(micro: PretrainConfig, dataset_dir: Path) -> None:
    worker = current_worker(micro.train, use_gpu=False)
    state = build_state(micro, worker)
    state.student_network.dino_head.last_layer.weight_g.data[0] = torch.nan
    before = {name: tensor.clone() for name, tensor in state_tensors(state).items()}
    trainer = Trainer(state, micro, worker)
    batches = StepBatches(ShardReader(dataset_dir), micro, rank=0, world_size=1)
    assert float(trainer.step(0, batches[0])["train/skipped_steps_in_a_row"]) == 1
    assert float(trainer.step(1, batches[1])["train/skipped_steps_in_a_row"]) == 2
    with pytest.raises(NonFiniteError, match="3 steps in a row up to step 3"):
        trainer.step(2, batches[2])
    after = state_tensors(state)
    assert all(torch.equal(after[name].nan_to_num(), before[name].nan_to_num()) for name in before)


def test_one_non_finite_step_is_skipped_and_the_next_one_counts_again(micro: PretrainConfig, dataset_dir: Path) -> None:
    worker = current_worker(micro.train, use_gpu=False)
    said: list[str] = []
    trainer = Trainer(build_state(micro, worker), micro, worker, say=said.append)
    batches = StepBatches(ShardReader(dataset_dir), micro, rank=0, world_size=1)
    trainer.step(1, batches[1]._replace(mask_weights=torch.full_like(batches[1].mask_weights, torch.inf)))
    assert float(trainer.step(2, batches[2])["train/skipped_steps_in_a_row"]) == 0
    assert said == ["step 2 skipped: its loss or gradient is not finite"]


def test_a_loader_that_is_killed_costs_the_steps_since_the_last_checkpoint_alone(
    micro: PretrainConfig, dataset_dir: Path, uninterrupted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = dataclasses.replace(micro, train=dataclasses.replace(micro.train, num_loader_workers=1))
    me = psutil.Process()
    earlier = {child.pid for child in me.children()}

    def forks() -> set[int]:
        """Of this process; another program that is being started looks like one for a moment."""
        found = set()
        for child in me.children():
            with contextlib.suppress(psutil.Error):
                found |= {child.pid} if child.cmdline() == me.cmdline() else set()
        return found - earlier

    def kill() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            seen = forks()
            time.sleep(0.1)
            if lasting := seen & forks():
                return os.kill(lasting.pop(), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    run(config, dataset_dir, tmp_path / "run")
    killer.join()
    assert "a process of its loader" in caplog.text
    assert "; training starts again from the last checkpoint" in caplog.text
    assert learned(tmp_path / "run") == learned(uninterrupted)


_SCRIPT = """
import pickle, sys
from pathlib import Path
sys.path[:0] = {path!r}
from pretrain.launch import pretrain
config, dataset_dir, run_dir = pickle.loads(bytes.fromhex(sys.argv[1]))
pretrain(config, dataset_dir=dataset_dir, run_dir=run_dir, run_id="r1", validate=None, backend="local")
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a start of Python with torch for each
@pytest.mark.parametrize("moments", [(300,), pytest.param((1, 150, 300, 500, 800), marks=pytest.mark.drill)])
def test_kill_9_at_several_moments_and_the_same_command_again_give_equal_losses(
    moments: tuple[int, ...], micro: PretrainConfig, dataset_dir: Path, tmp_path: Path
) -> None:
    """Moments are lines of metrics: the first is before the first checkpoint, the others are between later ones."""
    import pickle

    config = dataclasses.replace(
        micro,
        train=dataclasses.replace(micro.train, num_steps=60, num_loader_workers=1),
        checkpoint=dataclasses.replace(micro.checkpoint, every=5),
    )
    run(config, dataset_dir, tmp_path / "whole", validate=None)
    killed = tmp_path / "killed"
    script = _SCRIPT.format(path=sys.path)
    command = [sys.executable, "-c", script, pickle.dumps((config, dataset_dir, killed)).hex()]
    for lines in moments:
        process = subprocess.Popen(command, start_new_session=True)
        metrics = killed / "metrics.jsonl"
        while process.poll() is None and (not metrics.exists() or metrics.read_bytes().count(b"\n") < lines):
            time.sleep(0.005)
        assert process.poll() is None, "it ended before it could be killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True)
    assert sorted(learned(killed)) == sorted(learned(tmp_path / "whole"))
