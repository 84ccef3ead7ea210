"""Every value of the two set-ups beside those of facebookresearch/dinov2 at b8931f7.

`fast` is dinov2/configs/ssl_default_config.yaml, `long` is dinov2/configs/train/vitl14.yaml.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from pretrain.config import PretrainConfig
from pretrain.launch import pretrain
from pretrain.metrics import read_metrics
from pretrain.recipes import RECIPES, recipe
from pretrain.schedule import settings_at

SIZES = ("vits14", "vitb14", "vitl14", "vitg14")

BOTH = {
    "model.img_size": 224,
    "model.patch_size": 14,
    "model.layer_scale_init": 1e-5,
    "dino_head.hidden_dim": 2048,
    "augment.local_size": 98,
    "augment.num_local": 8,
    "augment.global_scale": (0.32, 1.0),
    "augment.local_scale": (0.05, 0.32),
    "augment.hflip_p": 0.5,
    "augment.vflip_p": 0.0,
    "augment.jitter_p": 0.8,
    "augment.brightness": 0.4,
    "augment.contrast": 0.4,
    "augment.saturation": 0.2,
    "augment.hue": 0.1,
    "augment.gray_p": 0.2,
    "augment.blur_p": "released",
    "augment.blur_sigma": (0.1, 2.0),
    "augment.solarize_p": 0.2,
    "mask.probability": 0.5,
    "mask.ratio": (0.1, 0.5),
    "mask.min_block": 4,
    "mask.min_aspect": 0.3,
    "loss.dino_weight": 1.0,
    "loss.ibot_weight": 1.0,
    "loss.koleo_weight": 0.1,
    "loss.student_temperature": 0.1,
    "loss.teacher_temperature": 0.07,
    "loss.teacher_temperature_start": 0.04,
    "loss.teacher_temperature_warmup_steps": 37_500,
    "optim.min_lr": 1e-6,
    "optim.weight_decay": 0.04,
    "optim.betas": (0.9, 0.999),
    "optim.patch_embed_lr_mult": 0.2,
    "optim.freeze_last_layer_steps": 1250,
    "optim.clip_grad_norm": 3.0,
    "optim.teacher_momentum_end": 1.0,
}
FAST = BOTH | {
    "model.drop_path_rate": 0.3,
    "dino_head.num_prototypes": 65_536,
    "dino_head.bottleneck_dim": 256,
    "ibot_head": None,
    "loss.centering": "softmax",
    "loss.center_momentum": 0.9,
    "loss.koleo_group": 64,
    "optim.base_lr": 4e-3,
    "optim.warmup_steps": 12_500,
    "optim.weight_decay_end": 0.4,
    "optim.layer_decay": 0.9,
    "optim.teacher_momentum": 0.992,
    "train.num_steps": 125_000,
    "train.batch_size": 2048,
}
LONG = BOTH | {
    "model.drop_path_rate": 0.4,
    "dino_head.num_prototypes": 131_072,
    "dino_head.bottleneck_dim": 384,
    "ibot_head.num_prototypes": 131_072,
    "ibot_head.hidden_dim": 2048,
    "ibot_head.bottleneck_dim": 256,
    "loss.centering": "sinkhorn",
    "loss.sinkhorn_iterations": 3,
    "loss.koleo_group": 32,
    "optim.base_lr": 2e-4,
    "optim.warmup_steps": 100_000,
    "optim.weight_decay_end": 0.2,
    "optim.layer_decay": 1.0,
    "optim.teacher_momentum": 0.994,
    "train.num_steps": 625_000,
    "train.batch_size": 3072,
}


def flat(config: PretrainConfig) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, part in dataclasses.asdict(config).items():
        values |= {f"{name}.{field}": value for field, value in part.items()} if isinstance(part, dict) else {name: part}
    return values


@pytest.mark.parametrize("size", SIZES)
def test_fast_has_every_value_of_the_default_configuration(size: str) -> None:
    values = flat(recipe(f"{size}-fast"))
    assert {name: values[name] for name in FAST} == FAST


@pytest.mark.parametrize("size", SIZES)
def test_long_has_every_value_of_the_large_models(size: str) -> None:
    values = flat(recipe(f"{size}-long"))
    images_a_gpu = {"loss.koleo_group": 12} if size == "vitg14" else {}
    assert {name: values[name] for name in LONG} == LONG | images_a_gpu


def test_a_bare_name_is_fast_for_small_and_long_for_large_models() -> None:
    whole = {"vits14": "fast", "vitb14": "fast", "vitl14": "long", "vitg14": "long"}
    assert all(recipe(size) == recipe(f"{size}-{setup}") for size, setup in whole.items())


def test_schedules_of_fast_pass_the_reference_values() -> None:
    config = recipe("vitl14-fast")
    peak = 4e-3 * 2**0.5
    rates = [settings_at(step, config).lr for step in (0, 12_499, 12_500, 68_750, 125_000)]
    assert rates == pytest.approx([0, peak, peak, (peak + 1e-6) / 2, 1e-6])
    middle = settings_at(62_500, config)
    assert (middle.weight_decay, middle.teacher_momentum) == pytest.approx((0.22, 0.996))


@pytest.mark.parametrize("size", SIZES)
def test_high_resolution_is_long_compressed_into_10000_steps(size: str) -> None:
    long, hires = flat(recipe(f"{size}-long")), flat(recipe(f"{size}-hires"))
    changed = {name: value for name, value in hires.items() if long[name] != value and not name.startswith("checkpoint.")}
    changed.pop("model.activation_checkpointing", None)
    assert changed == {
        "model.img_size": 518,
        "loss.teacher_temperature_warmup_steps": 600,
        "optim.base_lr": pytest.approx(2e-5),
        "optim.warmup_steps": 1600,
        "optim.freeze_last_layer_steps": 20,
        "train.num_steps": 10_000,
    }
    assert hires["model.activation_checkpointing"]


def test_small_differs_from_fast_in_what_its_docstring_names() -> None:
    fast, small = flat(recipe("vits14-fast")), flat(recipe("small"))
    changed = {name: value for name, value in small.items() if fast[name] != value and not name.startswith("checkpoint.")}
    assert changed == {
        "model.drop_path_rate": 0.1,
        "dino_head.num_prototypes": 16_384,
        "loss.koleo_group": 32,
        "optim.base_lr": 2e-3,
        "optim.teacher_momentum": 0.9995,
        "train.batch_size": 128,
    }
    assert small["optim.teacher_momentum"] == pytest.approx(fast["optim.teacher_momentum"] ** (1 / 16), abs=1e-5)


def test_batches_hold_whole_groups_on_one_machine() -> None:
    for name in RECIPES:
        config = recipe(name)
        group = min(config.loss.koleo_group, config.train.batch_size)
        assert config.train.batch_size % group == 0, name


def test_one_head_and_softmax_centring_train_and_export(micro: PretrainConfig, dataset_dir: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        micro,
        ibot_head=None,
        loss=dataclasses.replace(micro.loss, centering="softmax"),
        optim=dataclasses.replace(micro.optim, layer_decay=0.9),
        train=dataclasses.replace(micro.train, num_steps=3),
    )
    result = pretrain(config, dataset_dir=dataset_dir, run_dir=tmp_path, run_id="r", validate=None, backend="local")
    assert [checkpoint.step for checkpoint in result.checkpoints] == [3]
    names = safetensors.torch.load_file(Path(result.checkpoints[0].path).parent / "heads.safetensors").keys()
    assert not [name for name in names if "ibot_head" in name]
    losses = {(step, name): value for step, name, value in read_metrics(tmp_path / "metrics.jsonl") if name == "loss/ibot"}
    assert len(losses) == 3
