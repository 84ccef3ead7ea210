"""Schedules as functions of the step, so that a resumed run needs no schedule state."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pretrain.config import PretrainConfig

__all__ = ["StepSettings", "cosine", "settings_at"]


def cosine(
    step: int,
    *,
    base: float,
    final: float,
    num_steps: int,
    warmup_steps: int = 0,
    start: float = 0.0,
    freeze_steps: int = 0,
) -> float:
    """Value at `step`: zero while frozen, a line from `start` to `base`, then half a cosine to `final`, then `final`.

    The line includes both its ends, so the last step of the warm-up and the first of the cosine both have `base`, as in DINOv2's
    released code (dinov2/utils/utils.py).

    Args:
        step: 0 for the first.
        base: peak value.
        final: value from `num_steps` on.
        num_steps: steps of the whole schedule, frozen and warm-up ones included.
        warmup_steps: steps of the line.
        start: first value of the line.
        freeze_steps: steps of zero before the line.
    """
    if step >= num_steps:
        return final
    if step < freeze_steps:
        return 0.0
    step -= freeze_steps
    if step < warmup_steps:
        return start + (base - start) * step / (warmup_steps - 1) if warmup_steps > 1 else start
    length = num_steps - freeze_steps - warmup_steps
    return final + 0.5 * (base - final) * (1 + math.cos(math.pi * (step - warmup_steps) / length))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """Everything scheduled, at one step."""

    lr: float
    backbone_lr: float
    last_layer_lr: float
    weight_decay: float
    teacher_momentum: float
    teacher_temperature: float


def settings_at(step: int, config: PretrainConfig) -> StepSettings:
    """The scheduled values of a run at `step`, 0 for the first; learning rate scaled by sqrt(batch / 1024), or batch / 256."""
    optim, loss, num_steps, batch = config.optim, config.loss, config.train.num_steps, config.train.batch_size
    lr, backbone_lr = (
        cosine(
            step,
            base=optim.base_lr * (batch / 256 if optim.lr_scaling == "linear" else math.sqrt(batch / 1024)),
            final=optim.min_lr,
            num_steps=num_steps,
            warmup_steps=optim.warmup_steps,
            freeze_steps=frozen,
        )
        for frozen in (0, optim.freeze_backbone_steps)
    )
    return StepSettings(
        lr=lr,
        backbone_lr=backbone_lr,
        last_layer_lr=0.0 if step < optim.freeze_last_layer_steps else lr,
        weight_decay=cosine(step, base=optim.weight_decay, final=optim.weight_decay_end, num_steps=num_steps),
        teacher_momentum=cosine(step, base=optim.teacher_momentum, final=optim.teacher_momentum_end, num_steps=num_steps),
        teacher_temperature=cosine(
            step,
            base=loss.teacher_temperature,
            final=loss.teacher_temperature,
            num_steps=max(num_steps, loss.teacher_temperature_warmup_steps),
            warmup_steps=loss.teacher_temperature_warmup_steps,
            start=loss.teacher_temperature_start,
        ),
    )
