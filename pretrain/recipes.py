"""Whole configurations by name. A variant is `dataclasses.replace` of one of them, or an option on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

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
from pretrain.dinov2 import SIZES, anchored, dinov2, high_resolution
from pretrain.video.recipes import endofm, endofm_clean, endofm_tiny
from warehouse.near_names import near_hint

__all__ = ["RECIPES", "demo", "recipe", "small", "smoke", "vitb14", "vitg14", "vitl14", "vits14"]


def demo() -> PretrainConfig:
    """A tiny ViT with a convolutional stem that two CPU cores train in minutes: a working example, not a useful model.

    With a few ten thousand images seen in all, DINOv2's own settings leave the teacher's outputs near uniform, and nothing is learned. What
    helps: the stem, whose group norm takes brightness and colour out of each image; few prototypes; a teacher that is sharp from the
    start; and views that resemble each other. The random filters of the stem are good enough to learn slowly.
    """
    heads = HeadConfig(num_prototypes=64, hidden_dim=128, bottleneck_dim=32)
    return PretrainConfig(
        model=ModelConfig(
            architecture="vit_tiny_r_s16_p8_224",
            img_size=48,
            patch_size=8,
            embed_dim=64,
            num_heads=2,
            depth=2,
            layer_scale_init=0.0,
            drop_path_rate=0.0,
        ),
        dino_head=heads,
        ibot_head=heads,
        augment=AugmentConfig(
            local_size=32,
            num_local=0,
            global_scale=(0.5, 1.0),
            vflip_p=0.5,
            brightness=0.3,
            contrast=0.3,
            saturation=0.3,
            hue=0.05,
            blur_p=(0.0, 0.0, 0.0),
            solarize_p=0.0,
        ),
        mask=MaskConfig(),
        loss=LossConfig(ibot_weight=0.1, teacher_temperature_start=0.02, teacher_temperature=0.03, teacher_temperature_warmup_steps=200),
        optim=OptimConfig(
            base_lr=8e-3, warmup_steps=40, weight_decay_end=0.1, freeze_last_layer_steps=0, patch_embed_lr_mult=0.2, teacher_momentum=0.98
        ),
        train=TrainConfig(num_steps=400, batch_size=64, log_every=5),
        checkpoint=CheckpointConfig(every=100),
    )


def smoke() -> PretrainConfig:
    """A few steps of a micro-model: shows in seconds whether a machine or a cluster runs pretraining at all."""
    heads = HeadConfig(num_prototypes=128, hidden_dim=256, bottleneck_dim=64)
    return PretrainConfig(
        model=ModelConfig(
            architecture="vit_tiny_patch16_224",
            img_size=96,
            patch_size=16,
            embed_dim=128,
            num_heads=4,
            depth=2,
            layer_scale_init=0.1,
            drop_path_rate=0.0,
        ),
        dino_head=heads,
        ibot_head=heads,
        augment=AugmentConfig(local_size=48, num_local=4, vflip_p=0.5, brightness=0.5, contrast=0.5, saturation=0.8, hue=0.2, gray_p=0.5),
        mask=MaskConfig(),
        loss=LossConfig(teacher_temperature_start=0.02, teacher_temperature=0.03, teacher_temperature_warmup_steps=2),
        optim=OptimConfig(
            base_lr=4e-3, warmup_steps=2, weight_decay_end=0.1, freeze_last_layer_steps=1, patch_embed_lr_mult=1.0, teacher_momentum=0.98
        ),
        train=TrainConfig(num_steps=6, batch_size=8, log_every=1),
        checkpoint=CheckpointConfig(every=3),
    )


def small() -> PretrainConfig:
    """A ViT-S/14 for one GPU: 125,000 steps of 128 images, 64 to 256 also being sensible.

    It is `vits14-fast` with these changes, each for a batch 16 times smaller:
    - Softmax centring stays: its centre averages over batches, while Sinkhorn would spread 256 class
      tokens evenly over all prototypes.
    - 16,384 prototypes instead of 65,536: logits are the largest part of memory.
    - Teacher momentum 0.992 ** (1 / 16) = 0.9995: the teacher averages over as many images as before.
      DINO's authors advise the same value for 256 images.
    - Half the learning rate, after scaling by the square root of the batch: users with small batches
      report divergence above it (facebookresearch/dinov2, issue 143).
    - KoLeo in groups of 32, the reference's other value; drop path 0.1 for so small a model.

    - On a smaller GPU, `--train.accumulate 4` cuts each step into four micro-batches of 32, one group of
      KoLeo; what it learns stays the same.

    16 million images in all. Nothing here was tuned on endoscopy.
    """
    fast = dinov2("vits14", "fast")
    return replace(
        fast,
        model=replace(fast.model, drop_path_rate=0.1),
        dino_head=replace(fast.dino_head, num_prototypes=16384),
        loss=replace(fast.loss, koleo_group=32),
        optim=replace(fast.optim, base_lr=2e-3, teacher_momentum=0.9995),
        train=replace(fast.train, batch_size=128),
        checkpoint=CheckpointConfig(every=5000, keep_every=25000),
    )


def vits14() -> PretrainConfig:
    """ViT-S/14 with registers, 22 million parameters, DINOv2's 125,000 steps of 2,048 images."""
    return dinov2("vits14", "fast")


def vitb14() -> PretrainConfig:
    """ViT-B/14 with registers, 86 million parameters, DINOv2's 125,000 steps of 2,048 images."""
    return dinov2("vitb14", "fast")


def vitl14() -> PretrainConfig:
    """ViT-L/14 with registers, 304 million parameters, DINOv2's 625,000 steps of 3,072 images; MLP blocks, as its public weights have."""
    return dinov2("vitl14", "long")


def vitg14() -> PretrainConfig:
    """ViT-g/14 with registers and SwiGLU, 1.1 billion parameters, DINOv2's 625,000 steps of 3,072 images."""
    return dinov2("vitg14", "long")


def _hires(size: str) -> PretrainConfig:
    """The last 10,000 steps of `long`, at 518 pixels."""
    return high_resolution(dinov2(size, "long"))


def _gram(size: str) -> PretrainConfig:
    """10,000 steps after `long`, with patch similarities held to those of the weights that they start from."""
    return anchored(dinov2(size, "long"))


RECIPES: dict[str, Callable[[], PretrainConfig]] = {
    "demo": demo,
    "smoke": smoke,
    "small": small,
    "vits14": vits14,
    "vitb14": vitb14,
    "vitl14": vitl14,
    "vitg14": vitg14,
    **{f"{size}-fast": partial(dinov2, size, "fast") for size in SIZES},
    **{f"{size}-long": partial(dinov2, size, "long") for size in SIZES},
    **{f"{size}-hires": partial(_hires, size) for size in SIZES},
    **{f"{size}-gram": partial(_gram, size) for size in SIZES},
    "endofm": endofm,
    "endofm-clean": endofm_clean,
    "endofm-tiny": endofm_tiny,
}


def recipe(name: str) -> PretrainConfig:
    """The configuration called `name`.

    Raises:
        ValueError: no recipe has that name.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe called {name!r}; choose one of {', '.join(RECIPES)}{near_hint(name, RECIPES)}")
    return RECIPES[name]()
