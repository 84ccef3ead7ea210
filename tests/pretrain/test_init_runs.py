"""Runs that start from trained weights: what stays frozen, how they go on, and what stops them."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from pretrain.config import ModelConfig, PretrainConfig
from pretrain.failures import TrainingError
from pretrain.init_source import find_init
from pretrain.init_weights import Fitted, fit_init
from pretrain.initial import give_initial, initial_tensors
from pretrain.launch import PretrainResult, pretrain
from pretrain.metrics import read_metrics
from pretrain.notices import notices_after
from pretrain.start import find_start, give_start
from tests.helpers.published import SIZES, dinov2_layout, dinov3_layout, tiny

FROZEN = 4


def likeness(folder: str, *, to: Path) -> tuple[str, float]:
    """Cosine of an exported backbone's weights with those of a file: 1 for the same, less for what has moved away."""
    weights = safetensors.torch.load_file(f"{folder}/model.safetensors")
    start = safetensors.torch.load_file(to)
    ours, theirs = (torch.cat([each[name].flatten().double() for name in sorted(weights)]) for each in (weights, start))
    return "likeness/val/cosine", float(torch.cosine_similarity(ours, theirs, dim=0))


@pytest.fixture(scope="module")
def config(micro: PretrainConfig) -> PretrainConfig:
    return dataclasses.replace(
        micro,
        model=ModelConfig(architecture="vit_small_patch14_reg4_dinov2", img_size=28, patch_size=14, drop_path_rate=0.3, **SIZES),
        augment=dataclasses.replace(micro.augment, local_size=14),
        optim=dataclasses.replace(micro.optim, base_lr=1e-3, freeze_backbone_steps=FROZEN),
    )


@pytest.fixture(scope="module")
def fitted(config: PretrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    path = tmp_path_factory.mktemp("published") / "dinov2.pth"
    torch.save(dinov2_layout(tiny("vit_small_patch14_reg4_dinov2", img_size=42)), path)
    return fit_init(find_init(str(path)), config)


@pytest.fixture(scope="module")
def start(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backbone that the runs start from."""
    path = tmp_path_factory.mktemp("start") / "model.safetensors"
    named = {name.removeprefix("backbone."): tensor for name, tensor in fitted.tensors.items() if name.startswith("backbone.")}
    safetensors.torch.save_file(named, path)
    return path


def run(config: PretrainConfig, dataset_dir: Path, run_dir: Path, fitted: Fitted, start: Path, **changed: Any) -> PretrainResult:
    give_initial(run_dir, fitted)
    arguments: dict[str, Any] = {"run_id": "r1", "validate": partial(likeness, to=start), "backend": "local"} | changed
    return pretrain(config, dataset_dir=dataset_dir, run_dir=run_dir, **arguments)


@pytest.fixture(scope="module")
def straight(
    config: PretrainConfig, dataset_dir: Path, fitted: Fitted, start: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PretrainResult]:
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    return run_dir, run(config, dataset_dir, run_dir, fitted, start)


def state_of(run_dir: Path, step: int) -> dict[str, torch.Tensor]:
    files = sorted((run_dir / "checkpoints" / f"step_{step:07d}" / "state").iterdir())
    return {name: tensor for file in files for name, tensor in safetensors.torch.load_file(file).items()}


def test_a_frozen_backbone_stays_bit_equal_while_heads_learn_and_then_learns_too(
    straight: tuple[Path, PretrainResult], fitted: Fitted
) -> None:
    run_dir, _ = straight
    third, sixth = (state_of(run_dir, step) for step in (3, 6))  # the fourth step is the last frozen one, the fifth has rate 0
    initial = {name: tensor for name, tensor in fitted.tensors.items() if name.startswith("backbone.") or name == "mask_token"}
    assert len(initial) == 36
    for name, tensor in initial.items():
        assert torch.equal(third[f"student.{name}"], tensor), name
        assert torch.equal(third[f"teacher.{name}"], tensor), name
    assert not torch.equal(sixth["student.backbone.blocks.0.mlp.fc1.weight"], initial["backbone.blocks.0.mlp.fc1.weight"])
    rates = {step: value for step, name, value in read_metrics(run_dir / "metrics.jsonl") if name == "schedule/backbone_lr"}
    assert [rates[step] > 0 for step in range(1, 10)] == [False] * 5 + [True] * 4
    first = state_of(run_dir, 0)
    assert not torch.equal(third["student.dino_head.mlp.0.weight"], first["student.dino_head.mlp.0.weight"])


def test_what_a_run_starts_from_is_its_checkpoint_of_step_0_and_can_be_the_best(straight: tuple[Path, PretrainResult]) -> None:
    run_dir, result = straight
    best = next(checkpoint for checkpoint in result.checkpoints if checkpoint.is_best)
    assert best.step == 0
    assert best.validation_score == pytest.approx(1.0)
    assert json.loads((run_dir / "baseline.json").read_text()) == {"metric": "likeness/val/cosine", "score": best.validation_score}
    told = json.loads((run_dir / "init" / "init.json").read_text())
    assert (told["loaded"], told["resampled"], len(told["fresh"])) == (35, ["pos_embed 3x3 -> 2x2"], 16)
    assert [len(sha256) for sha256 in told["files"].values()] == [64]


class _Stop(Exception):
    pass


def _stop_at(step: int, done: int, total: int, values: dict[str, float]) -> None:
    if done == step:
        raise _Stop


def learned(run_dir: Path) -> list[tuple[int, str, float]]:
    return sorted(row for row in read_metrics(run_dir / "metrics.jsonl") if not row[1].startswith("speed/"))


@pytest.mark.parametrize("step", [5, 7])
def test_a_run_cut_at_or_after_the_thaw_continues_to_the_same_weights(
    step: int,
    config: PretrainConfig,
    dataset_dir: Path,
    fitted: Fitted,
    start: Path,
    straight: tuple[Path, PretrainResult],
    tmp_path: Path,
) -> None:
    with pytest.raises(_Stop):
        run(config, dataset_dir, tmp_path / "run", fitted, start, progress=partial(_stop_at, step))
    run(config, dataset_dir, tmp_path / "run", fitted, start)
    assert learned(tmp_path / "run") == learned(straight[0])
    last = "checkpoints/step_0000009/backbone/model.safetensors"
    assert (tmp_path / "run" / last).read_bytes() == (straight[0] / last).read_bytes()


def destructive(config: PretrainConfig) -> PretrainConfig:
    optim = dataclasses.replace(config.optim, base_lr=30.0, freeze_backbone_steps=0)
    return dataclasses.replace(config, optim=optim, train=dataclasses.replace(config.train, num_steps=9))


def test_the_guard_stops_a_run_that_ruins_what_it_started_from_and_a_larger_margin_goes_on(
    config: PretrainConfig, dataset_dir: Path, fitted: Fitted, start: Path, tmp_path: Path
) -> None:
    ruinous = destructive(config)
    sentence = r"likeness/val/cosine is .* at step 3, .* at step 6, more than 0\.05 below the 1\.000 .*step 0 has the best checkpoint"
    with pytest.raises(TrainingError, match=rf"{sentence}; start another run with the same --init and optim\.base_lr 7\.5"):
        run(ruinous, dataset_dir, tmp_path / "run", fitted, start)
    assert json.loads((tmp_path / "run" / "best.json").read_text())["step"] == 0
    with pytest.raises(TrainingError, match=sentence):  # typed again, before another step
        run(ruinous, dataset_dir, tmp_path / "run", fitted, start, progress=_no_step)
    unguarded = dataclasses.replace(ruinous, checkpoint=dataclasses.replace(ruinous.checkpoint, guard_drop=0.0))
    assert run(unguarded, dataset_dir, tmp_path / "run", fitted, start).num_steps == 9


def _no_step(done: int, total: int, values: dict[str, float]) -> None:
    raise AssertionError("it trained on")


def without_labels(folder: str, *, to: Path) -> tuple[str, float]:
    return "views/matching", likeness(folder, to=to)[1]


def test_without_labels_the_guard_only_warns(
    config: PretrainConfig, dataset_dir: Path, fitted: Fitted, start: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ruinous = destructive(config)
    short = dataclasses.replace(ruinous, train=dataclasses.replace(ruinous.train, num_steps=6))
    run(short, dataset_dir, tmp_path / "run", fitted, start, validate=partial(without_labels, to=start))
    assert "training goes on: give --validation to have it stopped" in caplog.text


def test_a_run_from_a_checkpoint_of_a_continuation_keeps_its_guard_and_needs_no_file(
    config: PretrainConfig, dataset_dir: Path, start: Path, straight: tuple[Path, PretrainResult], tmp_path: Path
) -> None:
    source = straight[0]
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, num_steps=10))
    give_start(tmp_path / "run", find_start(source))
    pretrain(longer, dataset_dir=dataset_dir, run_dir=tmp_path / "run", run_id="r2", validate=partial(likeness, to=start), backend="local")
    assert [step for step, name, _ in read_metrics(tmp_path / "run" / "metrics.jsonl") if name == "loss/total"] == [10]
    for name in ("baseline.json", "init/init.json"):
        assert (tmp_path / "run" / name).read_bytes() == (source / name).read_bytes()


def test_a_guard_whose_score_is_no_longer_made_says_so_once(
    config: PretrainConfig, dataset_dir: Path, start: Path, straight: tuple[Path, PretrainResult], tmp_path: Path
) -> None:
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, num_steps=11))
    every = dataclasses.replace(longer, checkpoint=dataclasses.replace(config.checkpoint, every=1))
    give_start(tmp_path / "run", find_start(straight[0]))
    validate = partial(without_labels, to=start)
    pretrain(every, dataset_dir=dataset_dir, run_dir=tmp_path / "run", run_id="r2", validate=validate, backend="local")
    said = [sentence for sentence in notices_after(tmp_path / "run", 0)[0] if "guard" in sentence]
    assert len(said) == 1
    assert said[0].startswith("checkpoints are no longer scored by likeness/val/cosine")


def test_heads_of_a_checkpoint_of_ours_come_along_if_their_sizes_agree(
    config: PretrainConfig, straight: tuple[Path, PretrainResult]
) -> None:
    source = find_init(str(straight[0] / "checkpoints" / "step_0000009"))
    whole = fit_init(source, config)
    assert (whole.report.loaded, whole.report.fresh, whole.report.left_out) == (52, (), ())
    heads = safetensors.torch.load_file(straight[0] / "checkpoints" / "step_0000009" / "heads.safetensors")
    assert all(torch.equal(whole.tensors[name], tensor) for name, tensor in heads.items())
    other = dataclasses.replace(config, dino_head=dataclasses.replace(config.dino_head, num_prototypes=8))
    report = fit_init(source, other).report
    assert (report.loaded, len(report.fresh), report.left_out) == (44, 8, ("dino_head of other sizes",))
    assert find_init(str(straight[0])).weights.parent.parent.name == "step_0000000"  # of a run its best


def test_damaged_initial_weights_are_named(fitted: Fitted, tmp_path: Path) -> None:
    give_initial(tmp_path, fitted)
    assert initial_tensors(tmp_path).keys() == fitted.tensors.keys()
    with (tmp_path / "init" / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(TrainingError, match="the initial weights of this run are damaged; delete"):
        initial_tensors(tmp_path)


def test_dinov3_is_continued_with_dropped_branches_masks_and_recomputation(
    config: PretrainConfig, dataset_dir: Path, tmp_path: Path
) -> None:
    torch.save(dinov3_layout(tiny("vit_small_patch16_dinov3_qkvb", img_size=64)), tmp_path / "dinov3.pth")
    model = ModelConfig(architecture="vit_small_patch16_dinov3_qkvb", img_size=32, patch_size=16, drop_path_rate=0.3, **SIZES)
    continued = dataclasses.replace(
        config,
        model=model,
        augment=dataclasses.replace(config.augment, local_size=16),
        train=dataclasses.replace(config.train, num_steps=7),
        checkpoint=dataclasses.replace(config.checkpoint, every=7),
    )
    fitted = fit_init(find_init(str(tmp_path / "dinov3.pth")), continued)
    losses = []
    for recompute in (False, True):
        own = dataclasses.replace(continued, model=dataclasses.replace(model, activation_checkpointing=recompute))
        run(own, dataset_dir, tmp_path / f"run-{recompute}", fitted, tmp_path, validate=None)
        rows = read_metrics(tmp_path / f"run-{recompute}" / "metrics.jsonl")
        losses.append([value for _, name, value in rows if name == "loss/total"])
    assert len(losses[0]) == 7
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    source = find_init(str(tmp_path / "run-True"))  # our export of it is read again
    assert fit_init(source, continued).report.fresh == ()
