"""Compiled steps against plain ones, on the CPU's inductor."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path

import pytest
import torch

from pretrain.compiled import compile_blocks, compile_losses, is_wanted
from pretrain.config import PretrainConfig
from pretrain.data import ShardReader, StepBatches
from pretrain.model import Network
from pretrain.parallel import current_worker
from pretrain.state import build_state, state_tensors
from pretrain.trainer import Trainer

needs_compiler = pytest.mark.skipif(not shutil.which("gcc"), reason="torch.compile needs a C++ compiler on a CPU")


def _losses(config: PretrainConfig, dataset_dir: Path, *, num_steps: int = 3) -> tuple[list[float], Trainer]:
    worker = current_worker(config.train, use_gpu=False)
    trainer = Trainer(build_state(config, worker), config, worker)
    batches = StepBatches(ShardReader(dataset_dir), config, rank=0, world_size=1)
    found = []
    for step in range(num_steps):
        values = trainer.step(step, batches[step])
        found += [float(value) for name, value in values.items() if name.startswith(("loss/", "grad_norm/"))]
    return found, trainer


@pytest.fixture
def conditioned(micro: PretrainConfig) -> PretrainConfig:
    """The whole recipe; LayerScale 1 keeps KoLeo's gradient well-conditioned, and its batch keeps rows in every branch."""
    return dataclasses.replace(
        micro,
        model=dataclasses.replace(micro.model, layer_scale_init=1.0),
        optim=dataclasses.replace(micro.optim, base_lr=2e-4),
        train=dataclasses.replace(micro.train, batch_size=12),
    )


def test_a_residual_stream_in_bfloat16_follows_the_run_in_fp32(conditioned: PretrainConfig, dataset_dir: Path) -> None:
    train = dataclasses.replace(conditioned.train, precision="bf16", residual="bf16")
    half, trainer = _losses(dataclasses.replace(conditioned, train=train), dataset_dir, num_steps=1)
    seen: list[torch.dtype] = []
    for network in (trainer.state.student_network, trainer.state.teacher_network):
        network.backbone.norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    trainer.step(1, StepBatches(ShardReader(dataset_dir), conditioned, rank=0, world_size=1)[1])
    assert seen == [torch.bfloat16] * 3  # teacher, global crops, local crops
    whole, _ = _losses(conditioned, dataset_dir, num_steps=1)
    assert half[0] == pytest.approx(whole[0], rel=2e-2)


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("recompute", [False, True])
def test_a_compiled_run_has_the_losses_and_norms_of_a_plain_one_from_few_graphs(
    recompute: bool, conditioned: PretrainConfig, dataset_dir: Path
) -> None:
    model = dataclasses.replace(conditioned.model, activation_checkpointing=recompute)
    config = dataclasses.replace(conditioned, model=model, train=dataclasses.replace(conditioned.train, compile="off"))
    plain, trainer = _losses(config, dataset_dir)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled, other = _losses(dataclasses.replace(config, train=dataclasses.replace(config.train, compile="on")), dataset_dir)
    assert compiled == pytest.approx(plain, rel=1e-4, abs=1e-6)
    assert state_tensors(other.state).keys() == state_tensors(trainer.state).keys()
    # blocks: global crops, local crops, teacher; losses: global, local, patches
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 6


def test_a_compiler_that_fails_is_told_once_and_training_goes_on(
    conditioned: PretrainConfig, dataset_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> None:
        raise RuntimeError("there is no ptxas")

    plain, trainer = _losses(conditioned, dataset_dir)
    worker, state = trainer.worker, build_state(conditioned, trainer.worker)
    again = Trainer(state, conditioned, worker)
    assert isinstance(state.student_network, Network)
    compile_blocks((state.student_network,), backend=broken)
    again._compiled_losses = compile_losses(backend=broken)
    batches = StepBatches(ShardReader(dataset_dir), conditioned, rank=0, world_size=1)
    with caplog.at_level(logging.WARNING):
        values = again.step(0, batches[0])
    assert float(values["loss/total"]) == plain[0]
    assert [record.getMessage().split(" (")[0] for record in caplog.records if "torch.compile" in record.getMessage()] == [
        "torch.compile failed for the blocks",
        "torch.compile failed for the losses",
    ]


def test_a_run_compiles_by_itself_on_a_gpu_with_a_compiler_alone(micro: PretrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setenv("CC", "sh")  # a program that is there
    assert is_wanted(micro.train, gpu)
    assert not is_wanted(micro.train, cpu)
    assert is_wanted(dataclasses.replace(micro.train, compile="on"), cpu)
    assert not is_wanted(dataclasses.replace(micro.train, compile="off"), gpu)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC")
    assert not is_wanted(micro.train, gpu)
