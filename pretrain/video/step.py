"""A step over clips: the losses and centres of the image trainer, from views that differ in their frames too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from pretrain.config import PretrainConfig
from pretrain.model import Outputs
from pretrain.objective import Centers, Losses, compute_losses, make_targets
from pretrain.parallel import Worker
from pretrain.state import TrainingState
from pretrain.video.batches import ClipBatch
from pretrain.video.drops import GroupDrops
from pretrain.video.model import BlockDrops

__all__ = ["ClipInputs", "ClipStep"]


class ClipInputs(NamedTuple):
    """A batch of clips on the device."""

    groups: list[Tensor]
    """(views * clips, 3, frames, side, side) float32, normalised"""
    drops: list[list[BlockDrops]] | None
    teacher_drops: list[list[BlockDrops]] | None
    masks: Tensor | None
    hidden: list[Tensor] | None
    mask_weights: Tensor
    """(hidden patches,) float32, one over the number hidden in the view"""
    moments: Tensor | None


class ClipStep:
    """Adds the gradients of a batch of clips to the student."""

    def __init__(self, state: TrainingState, config: PretrainConfig, worker: Worker) -> None:
        self._state, self._config, self._worker = state, config, worker
        shape = (1, 3, 1, 1, 1)
        self._mean, self._std = (torch.tensor(each, device=worker.device).view(shape) for each in (config.augment.mean, config.augment.std))

    def backward(self, batch: ClipBatch, temperature: float) -> tuple[Losses, Centers]:
        """The losses, and the centres after this batch."""
        inputs, loss = self.inputs(batch), self._config.loss
        targets = make_targets(self.teacher_outputs(inputs), self._state.centers, loss, temperature)
        losses = compute_losses(self.student_outputs(inputs), targets, inputs.mask_weights, loss, moments=inputs.moments)
        torch.autograd.backward(losses.total)
        return losses, targets.centers

    def inputs(self, batch: ClipBatch) -> ClipInputs:
        """A batch on its way to the device, views normalised."""
        device, rate = self._worker.device, self._config.model.drop_path_rate
        hidden, weights = None, torch.empty(0)
        if batch.masks is not None:
            frames = [group.shape[2] for group in batch.views[:2]]
            hidden, weights = _hidden(batch.masks, frames)
            hidden = [places.to(device, non_blocking=True) for places in hidden]

        def factors(drops: Sequence[GroupDrops] | None) -> list[list[BlockDrops]] | None:
            return None if drops is None else [group.blocks(rate, device) for group in drops]

        return ClipInputs(
            groups=[self._normalised(views) for views in batch.views],
            drops=factors(batch.drops),
            teacher_drops=factors(batch.teacher_drops),
            masks=None if batch.masks is None else batch.masks.to(device, non_blocking=True),
            hidden=hidden,
            mask_weights=weights.to(device, non_blocking=True),
            moments=None if batch.moments is None else batch.moments.to(device, non_blocking=True),
        )

    def teacher_outputs(self, inputs: ClipInputs) -> Outputs:
        """The teacher's pass over the global views, without gradients."""
        with self._worker.autocast(), torch.no_grad():
            out = self._state.teacher(inputs.groups[:2], drops=inputs.teacher_drops, hidden=inputs.hidden)
        return cast(Outputs, out)

    def student_outputs(self, inputs: ClipInputs) -> Outputs:
        """The student's pass over all views."""
        with self._worker.autocast():
            out = self._state.student(inputs.groups, drops=inputs.drops, masks=inputs.masks, hidden=inputs.hidden, hide=True)
        return cast(Outputs, out)

    def _normalised(self, views: Tensor) -> Tensor:
        """(views, clips, frames, side, side, 3) to (views * clips, 3, frames, side, side) float32."""
        moved = views.flatten(0, 1).to(self._worker.device, non_blocking=True).permute(0, 4, 1, 2, 3)
        pixels = moved.float() / 255 if moved.dtype == torch.uint8 else moved
        return ((pixels - self._mean) / self._std).contiguous()


def _hidden(masks: Tensor, frames: Sequence[int]) -> tuple[list[Tensor], Tensor]:
    """Places of hidden patches in each global view's tokens (clips, frames, patches) flattened, and their weights one after another."""
    places, weights = [], []
    for own, count in zip(masks.chunk(2), frames, strict=True):
        over_frames = own.unsqueeze(1).expand(-1, count, -1)
        places.append(over_frames.flatten().nonzero().squeeze(1))
        share = 1.0 / (own.sum(1).clamp(min=1) * count).float()
        weights.append(share.view(-1, 1, 1).expand_as(over_frames)[over_frames])
    return places, torch.cat(weights)
