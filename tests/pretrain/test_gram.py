"""Gram anchoring: the term by itself, and a short phase that continues a tiny run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from pretrain.checkpoint import step_dir
from pretrain.config import GramConfig, OptimConfig, PretrainConfig
from pretrain.data import ShardReader, StepBatches
from pretrain.gram import anchor_patches, gram_distance, gram_weight, is_refreshed, used_patches
from pretrain.identity import learning_settings
from pretrain.init_source import find_init
from pretrain.init_weights import fit_init
from pretrain.initial import give_initial
from pretrain.metrics import read_metrics
from pretrain.model import build_network, forward_tokens
from pretrain.parallel import current_worker
from pretrain.recipes import recipe
from pretrain.start import find_start, give_start
from pretrain.state import build_state
from pretrain.trainer import Trainer, train

CROSSED = torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])  # two patches at a right angle
ALIGNED = torch.tensor([[[1.0, 0.0], [5.0, 0.0]]])  # two of one direction


def test_the_distance_is_that_of_hand_made_patches() -> None:
    assert float(gram_distance(CROSSED, ALIGNED)) == pytest.approx(0.5)  # two of four pairs differ by 1
    half = torch.tensor([[[1.0, 0.0], [1.0, 3.0**0.5]]])  # 60 degrees
    assert float(gram_distance(half, ALIGNED)) == pytest.approx(0.125)
    assert float(gram_distance(CROSSED, -7 * CROSSED)) == 0.0  # neither length nor a common rotation matters
    assert float(gram_distance(CROSSED, ALIGNED, torch.tensor([[True, False]]))) == 0.0  # a patch with itself
    both = torch.cat([CROSSED, CROSSED]), torch.cat([ALIGNED, CROSSED])
    assert float(gram_distance(*both)) == pytest.approx(0.25)  # mean over crops


def test_the_distance_follows_the_formula_in_float64_and_moves_the_student_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(3, 9, 5, generator=generator, requires_grad=True)
    anchor = torch.randn(3, 9, 7, generator=generator, requires_grad=True)  # of another width
    used = torch.rand(3, 9, generator=generator) < 0.5
    ours, theirs = (F.normalize(each.detach().double(), dim=-1) for each in (student, anchor))
    squares = (torch.einsum("bid,bjd->bij", ours, ours) - torch.einsum("bid,bjd->bij", theirs, theirs)) ** 2
    expected = torch.stack([own[place][:, place].mean() for own, place in zip(squares, used, strict=True)]).mean()
    assert float(gram_distance(student, anchor).detach()) == pytest.approx(float(squares.mean()), rel=1e-6)
    distance = gram_distance(student, anchor, used)
    assert float(distance.detach()) == pytest.approx(float(expected), rel=1e-6)
    torch.autograd.backward(distance)
    assert student.grad is not None
    assert float(student.grad.abs().sum()) > 0
    assert anchor.grad is None
    torch.autograd.gradcheck(lambda each: gram_distance(each, anchor.double()), student.detach().double().requires_grad_())


def test_weight_refreshes_and_tokens_follow_the_settings() -> None:
    config = GramConfig(weight=2.0, start_step=4, warmup_steps=3, refresh_steps=5, max_refreshes=2, tokens="visible")
    assert [gram_weight(step, config) for step in (0, 3, 4, 5, 6, 7, 100)] == [0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.0]
    assert [step for step in range(40) if is_refreshed(step, config)] == [8, 13]
    assert not any(is_refreshed(step, dataclasses.replace(config, refresh_steps=0)) for step in range(40))
    masks = torch.tensor([[True, False]])
    assert used_patches(masks, config).tolist() == [[False, True]]  # type: ignore[union-attr]
    assert used_patches(masks, dataclasses.replace(config, tokens="all")) is None


def test_an_anchor_at_twice_the_size_gives_features_on_the_students_grid(micro: PretrainConfig) -> None:
    torch.manual_seed(0)
    backbone = build_network(micro, student=False).backbone
    crops = torch.randn(2, 3, 32, 32)
    assert torch.equal(anchor_patches(backbone, crops), forward_tokens(backbone, crops)[1])
    finer = anchor_patches(backbone, crops, scale=2)
    assert finer.shape == (2, 16, 24)
    flat = torch.ones(1, 3, 32, 32)
    whole = forward_tokens(backbone, torch.ones(1, 3, 64, 64))[1]
    assert anchor_patches(backbone, flat, scale=2).mean() == pytest.approx(float(whole.mean()), abs=1e-3)


def test_the_recipe_is_the_last_phase_of_long_and_without_a_weight_runs_keep_their_names() -> None:
    config, long = recipe("vits14-gram"), recipe("vits14-long")
    assert (config.gram.weight, config.train.num_steps, config.model) == (2.0, 10_000, long.model)
    assert config.optim == dataclasses.replace(recipe("vits14-hires").optim)
    assert "gram" not in learning_settings(long)
    assert learning_settings(config)["gram"]["weight"] == 2.0


@pytest.fixture(scope="module")
def first(micro: PretrainConfig, dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose patches have moved away from random ones."""
    run_dir = tmp_path_factory.mktemp("first") / "run"
    config = without_start(dataclasses.replace(micro, optim=dataclasses.replace(micro.optim, base_lr=3e-2)))
    go(config, dataset_dir, run_dir)
    return run_dir


def without_start(config: PretrainConfig) -> PretrainConfig:
    return dataclasses.replace(config, checkpoint=dataclasses.replace(config.checkpoint, validate_start=False))


def go(config: PretrainConfig, dataset_dir: Path, run_dir: Path, **others: Any) -> list[tuple[int, str, float]]:
    train(config, dataset_dir=dataset_dir, run_dir=run_dir, run_id="r", validate=None, use_gpu=False, **others)
    return [row for row in read_metrics(run_dir / "metrics.jsonl") if row[1].startswith("loss/")]


@pytest.fixture(scope="module")
def anchored(micro: PretrainConfig) -> PretrainConfig:
    """The anchor is renewed once, after step 5."""
    gram = GramConfig(weight=50.0, refresh_steps=5, max_refreshes=1)
    model = dataclasses.replace(micro.model, layer_scale_init=1.0)
    return without_start(dataclasses.replace(micro, model=model, gram=gram))


def begin(run_dir: Path, first: Path, config: PretrainConfig) -> Path:
    give_initial(run_dir, fit_init(find_init(str(step_dir(first, 9))), config))
    return run_dir


class _Stop(Exception):
    pass


def _stop_at_6(done: int) -> None:
    if done == 6:
        raise _Stop


def test_a_run_that_was_cut_goes_on_with_the_same_anchor(anchored: PretrainConfig, first: Path, dataset_dir: Path, tmp_path: Path) -> None:
    straight = go(anchored, dataset_dir, begin(tmp_path / "straight", first, anchored))
    assert {name for _, name, _ in straight} >= {"loss/gram", "loss/total"}
    with pytest.raises(_Stop):
        go(anchored, dataset_dir, begin(tmp_path / "cut", first, anchored), at_checkpoint=_stop_at_6)
    assert go(anchored, dataset_dir, tmp_path / "cut") == straight
    states = {step: state_of(tmp_path / "cut", step) for step in (3, 6, 9)}
    name = "blocks.1.mlp.fc1.weight"
    begun = safetensors.torch.load_file(tmp_path / "cut" / "init" / "weights.safetensors")
    assert torch.equal(states[3][f"anchor.{name}"], begun[f"backbone.{name}"])
    assert not torch.equal(states[6][f"anchor.{name}"], states[3][f"anchor.{name}"])
    assert torch.equal(states[9][f"anchor.{name}"], states[6][f"anchor.{name}"])


def state_of(run_dir: Path, step: int) -> dict[str, torch.Tensor]:
    files = sorted((step_dir(run_dir, step) / "state").iterdir())
    return {name: tensor for file in files for name, tensor in safetensors.torch.load_file(file).items()}


def test_micro_batches_give_the_same_run(anchored: PretrainConfig, first: Path, dataset_dir: Path, tmp_path: Path) -> None:
    short = dataclasses.replace(
        anchored,
        loss=dataclasses.replace(anchored.loss, koleo_group=2),
        train=dataclasses.replace(anchored.train, num_steps=3),
        gram=dataclasses.replace(anchored.gram, tokens="hidden", scale=2),
        optim=OptimConfig(base_lr=1e-4, warmup_steps=1),
    )
    whole = go(short, dataset_dir, begin(tmp_path / "whole", first, short))
    cut = dataclasses.replace(short, train=dataclasses.replace(short.train, accumulate=2))
    found = go(cut, dataset_dir, begin(tmp_path / "cut", first, cut))
    assert [value for *_, value in found] == pytest.approx([value for *_, value in whole], rel=1e-5, abs=1e-6)


def test_the_distance_falls_when_the_term_alone_is_learned(micro: PretrainConfig, dataset_dir: Path) -> None:
    config = dataclasses.replace(
        micro,
        model=dataclasses.replace(micro.model, drop_path_rate=0.0, layer_scale_init=1.0),
        loss=dataclasses.replace(micro.loss, dino_weight=0.0, ibot_weight=0.0, koleo_weight=0.0),
        gram=GramConfig(weight=1.0),
        optim=OptimConfig(base_lr=0.05, warmup_steps=0),
        train=dataclasses.replace(micro.train, num_steps=30),
    )
    worker = current_worker(config.train, use_gpu=False)
    state = build_state(config, worker)
    assert state.anchor is not None
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in state.anchor.parameters():  # as after other training
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    trainer = Trainer(state, config, worker)
    batch = StepBatches(ShardReader(dataset_dir), config, rank=0, world_size=1)[0]
    before = {name: tensor.clone() for name, tensor in state.anchor.state_dict().items()}
    distances = [float(trainer.step(step, batch)["loss/gram"]) for step in range(20)]
    assert distances[-1] < 0.5 * distances[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.anchor.state_dict().items())


def test_random_weights_are_no_anchor(anchored: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"this one starts from random weights; give --init a run"):
        go(anchored, dataset_dir, tmp_path / "run")


def test_a_run_without_an_anchor_continues_with_its_teacher_as_one(
    micro: PretrainConfig, first: Path, dataset_dir: Path, tmp_path: Path
) -> None:
    longer = without_start(dataclasses.replace(micro, train=dataclasses.replace(micro.train, num_steps=10), gram=GramConfig(weight=1.0)))
    give_start(tmp_path / "run", find_start(first))
    rows = go(longer, dataset_dir, tmp_path / "run")
    assert [step for step, name, _ in rows if name == "loss/gram"] == [10]
    name = "blocks.1.mlp.fc1.weight"
    assert torch.equal(state_of(tmp_path / "run", 10)[f"anchor.{name}"], state_of(first, 9)[f"teacher.backbone.{name}"])

    free = without_start(dataclasses.replace(micro, train=dataclasses.replace(micro.train, num_steps=11)))
    give_start(tmp_path / "free", find_start(tmp_path / "run"))
    assert [name for _, name, _ in go(free, dataset_dir, tmp_path / "free")].count("loss/gram") == 0
    assert not [name for name in state_of(tmp_path / "free", 11) if name.startswith("anchor.")]
