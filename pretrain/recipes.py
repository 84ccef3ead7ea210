"""Whole configurations by name. A variant is `dataclasses.replace` of one of them, or an option on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pretrain.config import (
    AugmentConfig,
    CheckpointConfig,
    HeadConfig,
    LossConfig,
    MaskConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    TrainConfig,
)

__all__ = ["RECIPES", "demo", "recipe", "smoke", "vitb14", "vitg14", "vitl14", "vits14"]

_EPOCH_STEPS = 1250  # DINOv2's epochs are a number of steps, whatever the size of the data


def demo() -> PretrainConfig:
    """A tiny ViT that two CPU cores train in about two minutes: a working example of every part, not a useful model.

    With nine thousand images seen in all, DINOv2's own settings leave the teacher's outputs near uniform, and nothing is learned. So
    prototypes are few, the teacher is sharp from the start, and colour, by which phantom patients differ most, is jittered hard.
    """
    heads = HeadConfig(num_prototypes=128, hidden_dim=256, bottleneck_dim=64)
    return PretrainConfig(
        model=ModelConfig(
            architecture="vit_tiny_patch16_224",
            img_size=96,
            patch_size=16,
            embed_dim=128,
            num_heads=4,
            depth=4,
            layer_scale_init=0.1,
            drop_path_rate=0.0,
        ),
        dino_head=heads,
        ibot_head=heads,
        augment=AugmentConfig(local_size=48, num_local=4, vflip_p=0.5, brightness=0.5, contrast=0.5, saturation=0.8, hue=0.2, gray_p=0.5),
        mask=MaskConfig(),
        loss=LossConfig(teacher_temperature_start=0.02, teacher_temperature=0.03, teacher_temperature_warmup_steps=100),
        optim=OptimConfig(
            base_lr=4e-3, warmup_steps=28, weight_decay_end=0.1, freeze_last_layer_steps=14, patch_embed_lr_mult=1.0, teacher_momentum=0.98
        ),
        train=TrainConfig(num_steps=280, batch_size=32, log_every=5),
        checkpoint=CheckpointConfig(every=70),
    )


def smoke() -> PretrainConfig:
    """A few steps of a micro-model: shows in seconds whether a machine or a cluster runs pretraining at all."""
    full = demo()
    return replace(
        full,
        model=replace(full.model, depth=2),
        train=replace(full.train, num_steps=6, batch_size=8, log_every=1),
        optim=replace(full.optim, warmup_steps=2, freeze_last_layer_steps=1),
        loss=replace(full.loss, teacher_temperature_warmup_steps=2),
        checkpoint=CheckpointConfig(every=3),
    )


def _dinov2(architecture: str, *, drop_path_rate: float, batch_size: int, num_epochs: int, big: bool) -> PretrainConfig:
    """DINOv2's recipe for its large models (Oquab et al. 2023, and the released configuration), sizes left open."""
    return PretrainConfig(
        model=ModelConfig(
            architecture=architecture, img_size=224, patch_size=14, drop_path_rate=drop_path_rate, activation_checkpointing=big
        ),
        dino_head=HeadConfig(num_prototypes=131072, bottleneck_dim=384) if big else HeadConfig(),
        ibot_head=HeadConfig(num_prototypes=131072) if big else HeadConfig(),
        augment=AugmentConfig(local_size=98),
        loss=LossConfig(teacher_temperature_warmup_steps=30 * _EPOCH_STEPS),
        optim=OptimConfig(base_lr=2e-4, warmup_steps=num_epochs * _EPOCH_STEPS * 16 // 100, freeze_last_layer_steps=_EPOCH_STEPS),
        train=TrainConfig(num_steps=num_epochs * _EPOCH_STEPS, batch_size=batch_size, num_loader_workers=12),
        checkpoint=CheckpointConfig(every=10 * _EPOCH_STEPS, keep_every=50 * _EPOCH_STEPS),
    )


def vits14() -> PretrainConfig:
    """ViT-S/14 with registers, 22 million parameters, 125,000 steps of 1,024 images."""
    return _dinov2("vit_small_patch14_reg4_dinov2", drop_path_rate=0.1, batch_size=1024, num_epochs=100, big=False)


def vitb14() -> PretrainConfig:
    """ViT-B/14 with registers, 86 million parameters, 125,000 steps of 1,024 images."""
    return _dinov2("vit_base_patch14_reg4_dinov2", drop_path_rate=0.2, batch_size=1024, num_epochs=100, big=False)


def vitl14() -> PretrainConfig:
    """ViT-L/14 with registers, 304 million parameters, DINOv2's 625,000 steps of 3,072 images; MLP blocks, as its public weights have."""
    return _dinov2("vit_large_patch14_reg4_dinov2", drop_path_rate=0.4, batch_size=3072, num_epochs=500, big=True)


def vitg14() -> PretrainConfig:
    """ViT-g/14 with registers and SwiGLU, 1.1 billion parameters, DINOv2's 625,000 steps of 3,072 images."""
    return _dinov2("vit_giant_patch14_reg4_dinov2", drop_path_rate=0.4, batch_size=3072, num_epochs=500, big=True)


RECIPES: dict[str, Callable[[], PretrainConfig]] = {
    "demo": demo,
    "smoke": smoke,
    "vits14": vits14,
    "vitb14": vitb14,
    "vitl14": vitl14,
    "vitg14": vitg14,
}


def recipe(name: str) -> PretrainConfig:
    """The configuration called `name`.

    Raises:
        ValueError: no recipe has that name.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe called {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]()
