"""Recipes that train on clips: Endo-FM as released, the recommended form of it, and one that two cores train in minutes."""

from __future__ import annotations

from dataclasses import replace

from pretrain.config import (
    VIDEO_ARCHITECTURE,
    AugmentConfig,
    CheckpointConfig,
    HeadConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    TrainConfig,
    VideoConfig,
)

__all__ = ["endofm", "endofm_clean", "endofm_tiny"]

_STEPS_AN_EPOCH = 2746
"""of 32,956 clips, the corpus of the paper, in batches of 12"""
_EPOCHS, _WARM_UP_EPOCHS = 30, 10


def endofm() -> PretrainConfig:
    """ViT-B/16 with divided space-time attention as Endo-FM released it: 12 clips a step, 18 terms of cross-entropy.

    What its code does by accident is on: see `VideoConfig`, `clip_over` and `freeze_last_layer_by`. Steps are those of 30 epochs of the
    paper's 32,956 clips. It is not bit for bit the original: precision is bf16 in place of fp16 with a loss scaler, clips that cannot be
    read are counted, and weights to start from are given with `--init`.
    """
    return PretrainConfig(
        model=ModelConfig(
            architecture=VIDEO_ARCHITECTURE,
            img_size=224,
            patch_size=16,
            embed_dim=768,
            depth=12,
            num_heads=12,
            layer_scale_init=0.0,
            drop_path_rate=0.1,
        ),
        dino_head=HeadConfig(norm_last_layer=True),
        ibot_head=None,
        augment=AugmentConfig(
            local_size=96,
            num_local=8,
            global_scale=(0.4, 1.0),
            local_scale=(0.05, 0.4),
            hue=0.0,
            blur_p=(0.0, 0.0, 0.0),
            solarize_p=0.0,
        ),
        loss=LossConfig(
            ibot_weight=0.0,
            koleo_weight=0.0,
            centering="softmax",
            teacher_temperature_start=0.04,
            teacher_temperature=0.04,
            teacher_temperature_warmup_steps=0,
        ),
        optim=OptimConfig(
            base_lr=5e-4,
            lr_scaling="linear",
            warmup_steps=_WARM_UP_EPOCHS * _STEPS_AN_EPOCH,
            weight_decay_end=0.4,
            patch_embed_lr_mult=1.0,
            freeze_last_layer_steps=_STEPS_AN_EPOCH,
            freeze_last_layer_by="gradient",
            clip_over="tensor",
            teacher_momentum=0.996,
        ),
        train=TrainConfig(num_steps=_EPOCHS * _STEPS_AN_EPOCH, batch_size=12),
        checkpoint=CheckpointConfig(every=_STEPS_AN_EPOCH),
        video=VideoConfig(),
    )


def endofm_clean() -> PretrainConfig:
    """`endofm` without its accidents: one gradient norm, a teacher in evaluation mode, crops and grey as meant, draws anew each epoch.

    iBOT on patches and KoLeo are there to be switched on: `--loss.ibot-weight 1 --loss.koleo-weight 0.1`.
    """
    return _clean(endofm())


def endofm_tiny() -> PretrainConfig:
    """`endofm-clean` at a size that two CPU cores train in two minutes: a working example, not a useful model.

    With a few thousand clips seen in all, Endo-FM's own settings collapse: all clips get one prototype, and the centre follows from one to
    the next. What helps: Sinkhorn centring and KoLeo, which keep outputs apart; weights as large for this width as 0.02 is for 768; few
    prototypes and a sharp teacher; and views that resemble each other, without local ones. Clips need few pixels for it:
    `curate --clips --clip-seconds 2 --clip-fps 12 --clip-side 96`.
    """
    whole = endofm_clean()
    return replace(
        whole,
        model=replace(whole.model, img_size=48, patch_size=8, embed_dim=64, depth=2, num_heads=2, drop_path_rate=0.0),
        dino_head=HeadConfig(num_prototypes=64, hidden_dim=128, bottleneck_dim=32, norm_last_layer=True),
        augment=replace(
            whole.augment,
            local_size=32,
            num_local=0,
            global_scale=(0.5, 1.0),
            brightness=0.2,
            contrast=0.2,
            saturation=0.2,
            gray_p=0.0,
        ),
        loss=replace(whole.loss, centering="sinkhorn", koleo_weight=0.1, teacher_temperature_start=0.02, teacher_temperature=0.02),
        optim=replace(
            whole.optim,
            base_lr=1e-2,
            lr_scaling="sqrt",
            warmup_steps=20,
            weight_decay_end=0.1,
            freeze_last_layer_steps=0,
            teacher_momentum=0.95,
        ),
        train=TrainConfig(num_steps=120, batch_size=32, log_every=5),
        checkpoint=CheckpointConfig(every=60),
        video=replace(whole.video or VideoConfig(), num_frames=4, global_frames=(4, 4), local_frames=(), init_std=0.07),
    )


def _clean(released: PretrainConfig) -> PretrainConfig:
    assert released.video is not None
    return replace(
        released,
        optim=replace(released.optim, clip_over="all", freeze_last_layer_by="rate"),
        video=replace(
            released.video,
            resampling="bicubic",
            global_span="random",
            crop_try="first",
            gray_weights="rgb",
            clamp=True,
            draws="fresh",
            teacher_drop_path=False,
        ),
    )
