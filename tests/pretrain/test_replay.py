"""Runs that really stop for NaN keep the step, and doing it again gives the same numbers and names where."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import pytest
import torch

from pretrain.checkpoint import read_state
from pretrain.config import PretrainConfig
from pretrain.data import ShardReader, StepBatches
from pretrain.launch import pretrain
from pretrain.metrics import read_metrics
from pretrain.parallel import current_worker
from pretrain.replay import replay, trace_step
from pretrain.replay_files import keep_for_replay, kept_step
from pretrain.state import build_state, state_tensors
from pretrain.trainer import NonFiniteError, Trainer


def hot(micro: PretrainConfig) -> PretrainConfig:
    """A rate at which the weights of the second step overflow."""
    return dataclasses.replace(micro, optim=dataclasses.replace(micro.optim, base_lr=1e20, warmup_steps=0))


def test_a_run_that_diverges_keeps_the_step_and_it_is_done_again_bit_for_bit(
    micro: PretrainConfig, dataset_dir: Path, tmp_path: Path
) -> None:
    config, run_dir = hot(micro), tmp_path / "r1"
    with pytest.raises(NonFiniteError, match=r"`endoforge pretrain --lake \S+ --replay-nan r1` does step (\d) again and says") as told:
        pretrain(config, dataset_dir=dataset_dir, run_dir=run_dir, run_id="r1", validate=None, backend="local")
    (folder,) = (run_dir / "nan").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["replay.json", "state", "state.json"]
    assert "GB kept" in str(told.value)
    found = replay(run_dir, config, dataset_dir=dataset_dir, use_gpu=False)
    done = found.kept.step + 1
    assert found.kept.is_before
    assert not found.trace.is_finite
    assert found.trace.module is not None
    logged = {name: value for step, name, value in read_metrics(run_dir / "metrics.jsonl") if step == done}
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    unlogged = {row["name"] for row in lines if row["step"] == done and row["value"] is None}
    for name, value in found.trace.losses.items():
        if torch.tensor(value).isfinite():
            assert logged[f"loss/{name}"] == value
        else:
            assert f"loss/{name}" in unlogged
    assert found.trace.tensors == ()  # what was skipped has not spoilt the state
    assert found.in_fp32 is found.trace  # a CPU's run was fp32
    assert len(found.frames) == 4
    again = replay(run_dir, config, dataset_dir=dataset_dir, use_gpu=False)
    assert str(again) == str(found)


def test_the_module_with_an_infinite_weight_is_named(micro: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    worker = current_worker(micro.train, use_gpu=False)
    state = build_state(micro, worker)
    state_tensors(state)["student.backbone.blocks.1.mlp.fc1.weight"][0, 0] = torch.inf
    before = {name: tensor.clone() for name, tensor in state_tensors(state).items()}
    trainer = Trainer(state, micro, worker, keep=partial(keep_for_replay, tmp_path, worker=worker))
    batches = StepBatches(ShardReader(dataset_dir), micro, rank=0, world_size=1)
    with pytest.raises(NonFiniteError, match="up to step 5"):
        for step in range(2, 9):
            trainer.step(step, batches[step])
    found = replay(tmp_path, micro, dataset_dir=dataset_dir, use_gpu=False)
    assert found.kept.step == 2
    assert found.trace.tensors == ("student.backbone.blocks.1.mlp.fc1.weight",)
    assert (found.trace.module, found.trace.enters_finite) == ("student.backbone.blocks.1.mlp.fc1", True)
    assert found.trace.losses["total"] != found.trace.losses["total"]
    assert found.trace.gradients
    assert not any(frame.is_finite for frame in found.frames)
    fresh = build_state(micro, worker)
    read_state(kept_step(tmp_path)[0], 2, state_tensors(fresh), worker)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state_tensors(fresh).items())


def test_a_finite_step_has_nothing_to_name_and_a_loss_alone_is_named(micro: PretrainConfig, dataset_dir: Path) -> None:
    worker = current_worker(micro.train, use_gpu=False)
    state = build_state(micro, worker)
    batch = StepBatches(ShardReader(dataset_dir), micro, rank=0, world_size=1)[0]
    trace = trace_step(state, micro, worker, 0, batch)
    assert (trace.module, trace.gradients, trace.operation, trace.bad_images) == (None, (), None, ())
    assert trace.is_finite
    in_parts = dataclasses.replace(
        micro, loss=dataclasses.replace(micro.loss, koleo_group=2), train=dataclasses.replace(micro.train, accumulate=2)
    )
    whole = dataclasses.replace(in_parts, train=micro.train)
    cut, uncut = (trace_step(state, config, worker, 0, batch) for config in (in_parts, whole))
    assert cut.losses == pytest.approx(uncut.losses, rel=1e-5)
    spoilt = trace_step(state, micro, worker, 0, batch._replace(mask_weights=torch.full_like(batch.mask_weights, torch.nan)))
    assert spoilt.module is None  # no module, but a loss
    assert [name for name, value in spoilt.losses.items() if value != value] == ["total", "ibot"]
    assert spoilt.gradients[0].startswith("ibot_head.last_layer")
    assert spoilt.operation == "_CrossEntropyBackward"


def test_a_damaged_or_missing_step_is_refused(micro: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keeps no step to replay"):
        replay(tmp_path, micro, dataset_dir=dataset_dir, use_gpu=False)
    worker = current_worker(micro.train, use_gpu=False)
    state = build_state(micro, worker)
    for step in (3, 7):  # the later one takes the place of the earlier one
        keep_for_replay(tmp_path, state, step, True, worker=worker)
    (folder,) = (tmp_path / "nan").iterdir()
    assert folder.name == "step_0000007"
    (file,) = (folder / "state").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"kept for a replay is damaged \(state/.* has .* bytes of"):
        replay(tmp_path, micro, dataset_dir=dataset_dir, use_gpu=False)
