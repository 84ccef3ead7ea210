"""DINOv2's two set-ups, `fast` and `long`, each whole, around a ViT of four sizes.

Values are those of facebookresearch/dinov2 at b8931f7: `fast` is ssl_default_config (100 epochs),
`long` is vitl14 and vitg14 (500 epochs). Ours differ in four points. Patches are 14 pixels also in
`fast`, whose reference has 16. ViT-L has MLP blocks, as its public weights do. All backbones have four
registers. And KoLeo looks for neighbours in groups as large as the reference's batch of one GPU.

The reference trains S and B only by distillation from g, so it has no set-up for them. Here they get
the same one as L. The batch of vitg14 is not in its repository; here it is L's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pretrain.config import (
    AugmentConfig,
    CheckpointConfig,
    GramConfig,
    HeadConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    TrainConfig,
)

__all__ = ["EPOCH_STEPS", "SIZES", "Setup", "anchored", "dinov2", "high_resolution"]

EPOCH_STEPS = 1250
"""DINOv2's epochs are a number of steps, whatever the size of the data"""

Setup = Literal["fast", "long"]


@dataclass(frozen=True, slots=True)
class _Size:
    architecture: str
    is_large: bool
    """recompute activations: they do not fit beside the weights"""
    long_koleo_group: int = 32
    """images a GPU of the reference's long run"""


SIZES = {
    "vits14": _Size("vit_small_patch14_reg4_dinov2", is_large=False),
    "vitb14": _Size("vit_base_patch14_reg4_dinov2", is_large=False),
    "vitl14": _Size("vit_large_patch14_reg4_dinov2", is_large=True),
    "vitg14": _Size("vit_giant_patch14_reg4_dinov2", is_large=True, long_koleo_group=12),
}


def dinov2(size: str, setup: Setup) -> PretrainConfig:
    """One of the reference's set-ups.

    Args:
        size: a name in SIZES.
        setup: `fast` has softmax centring, one head for both losses and a high rate with layer decay;
            `long` has Sinkhorn, two larger heads and a low rate.
    """
    return _fast(SIZES[size]) if setup == "fast" else _long(SIZES[size])


def _fast(size: _Size) -> PretrainConfig:
    """100 epochs of 2,048 images."""
    return PretrainConfig(
        model=ModelConfig(
            architecture=size.architecture, img_size=224, patch_size=14, drop_path_rate=0.3, activation_checkpointing=size.is_large
        ),
        dino_head=HeadConfig(num_prototypes=65536, bottleneck_dim=256),
        ibot_head=None,
        augment=AugmentConfig(local_size=98),
        loss=LossConfig(centering="softmax", koleo_group=64, teacher_temperature_warmup_steps=30 * EPOCH_STEPS),
        optim=OptimConfig(
            base_lr=4e-3,
            warmup_steps=10 * EPOCH_STEPS,
            weight_decay_end=0.4,
            layer_decay=0.9,
            freeze_last_layer_steps=EPOCH_STEPS,
            teacher_momentum=0.992,
        ),
        train=TrainConfig(num_steps=100 * EPOCH_STEPS, batch_size=2048, num_loader_workers=12),
        checkpoint=CheckpointConfig(every=10 * EPOCH_STEPS, keep_every=50 * EPOCH_STEPS),
    )


def _long(size: _Size) -> PretrainConfig:
    """500 epochs of 3,072 images."""
    return PretrainConfig(
        model=ModelConfig(
            architecture=size.architecture, img_size=224, patch_size=14, drop_path_rate=0.4, activation_checkpointing=size.is_large
        ),
        dino_head=HeadConfig(num_prototypes=131072, bottleneck_dim=384),
        ibot_head=HeadConfig(num_prototypes=131072, bottleneck_dim=256),
        augment=AugmentConfig(local_size=98),
        loss=LossConfig(centering="sinkhorn", koleo_group=size.long_koleo_group, teacher_temperature_warmup_steps=30 * EPOCH_STEPS),
        optim=OptimConfig(
            base_lr=2e-4,
            warmup_steps=80 * EPOCH_STEPS,
            weight_decay_end=0.2,
            layer_decay=1.0,
            freeze_last_layer_steps=EPOCH_STEPS,
            teacher_momentum=0.994,
        ),
        train=TrainConfig(num_steps=500 * EPOCH_STEPS, batch_size=3072, num_loader_workers=12),
        checkpoint=CheckpointConfig(every=10 * EPOCH_STEPS, keep_every=50 * EPOCH_STEPS),
    )


def high_resolution(config: PretrainConfig) -> PretrainConfig:
    """A run's last phase at 518 pixels.

    The paper describes this phase and its 10,000 steps; the repository has no configuration of it. A tenth of the rate, and local crops of
    98 pixels as before, are ours.
    """
    phase = _last_phase(config)
    return replace(phase, model=replace(phase.model, img_size=518, activation_checkpointing=True))


def anchored(config: PretrainConfig) -> PretrainConfig:
    """A run's last phase with DINOv3's Gram anchoring, at the size of before.

    The weight of 2 and its ramp are DINOv3's, which anchors the last part of a run of a million steps and renews the anchor every 10,000
    steps. So short a phase keeps one anchor, the weights that it starts from; its length and the tenth of the rate are ours.
    """
    return replace(_last_phase(config), gram=GramConfig(weight=2.0, warmup_steps=1000))


def _last_phase(config: PretrainConfig) -> PretrainConfig:
    """All schedules compressed into 10,000 steps, at a tenth of the rate."""
    num_steps = 10_000

    def compressed(steps: int) -> int:
        return steps * num_steps // config.train.num_steps

    return replace(
        config,
        loss=replace(config.loss, teacher_temperature_warmup_steps=compressed(config.loss.teacher_temperature_warmup_steps)),
        optim=replace(
            config.optim,
            base_lr=config.optim.base_lr / 10,
            warmup_steps=compressed(config.optim.warmup_steps),
            freeze_last_layer_steps=compressed(config.optim.freeze_last_layer_steps),
        ),
        train=replace(config.train, num_steps=num_steps),
        checkpoint=CheckpointConfig(every=1000),
    )
