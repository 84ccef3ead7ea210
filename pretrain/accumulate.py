"""Gradients of one step from micro-batches, equal to those of one big batch to the rounding of sums.

The teacher sees all micro-batches first. Only the inputs of its last layers are kept, 256 numbers a row, and balanced over all
micro-batches of all workers. Then each micro-batch goes through the student, forward and backward. Gradients of the prototypes are added
up apart and passed on once, after the last micro-batch, in which workers exchange all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from pretrain.chunked_loss import Teacher, default_chunk, fused_cross_entropy, mean_entropy
from pretrain.chunked_targets import center_column, centered, sinkhorn_column
from pretrain.config import LossConfig
from pretrain.cross_entropy import PassOverRows
from pretrain.data import Batch
from pretrain.gram import WeightedGram
from pretrain.koleo import koleo_loss
from pretrain.micro_batches import micro_batches
from pretrain.model import LastLayerInputs, Network
from pretrain.objective import Centers, Losses
from pretrain.parallel import Worker, full_tensor
from pretrain.state import TrainingState

__all__ = ["backward_in_parts"]

_NUM_GLOBAL = 2


class Inputs(Protocol):
    """What the losses read of a micro-batch on the device."""

    @property
    def mask_weights(self) -> Tensor: ...
    @property
    def moments(self) -> Tensor | None: ...


_Inputs = TypeVar("_Inputs", bound=Inputs)


def backward_in_parts(
    batch: Batch,
    state: TrainingState,
    loss: LossConfig,
    worker: Worker,
    *,
    count: int,
    temperature: float,
    inputs: Callable[[Batch], _Inputs],
    teacher: Callable[[_Inputs], LastLayerInputs],
    student: Callable[[_Inputs], LastLayerInputs],
    compiled: PassOverRows | None = None,
    chunk: int | None = None,
    gram: Callable[[LastLayerInputs, _Inputs], WeightedGram | None] = lambda student, inputs: None,
) -> tuple[Losses, Centers]:
    """Add this step's gradients to the student's parameters.

    Args:
        batch: this worker's part of the step.
        state: whose student gets gradients; centres stay.
        loss: the objective.
        worker: this one.
        count: micro-batches; `check_accumulation` says which numbers are possible.
        temperature: of the teacher.
        inputs: moves a micro-batch to the device.
        teacher: its forward pass up to the last layers, without gradients.
        student: the same with gradients.
        compiled: `loss_and_gradient` compiled.
        chunk: elements of the largest matrix of logits; the device's where not given.
        gram: distance of a micro-batch from the anchor, if the run has one.

    Returns:
        Losses of this worker's whole part, and the centres after this batch.
    """
    parts = micro_batches(batch, count)
    seen = [_without_features(teacher(inputs(part))) for part in parts]
    terms = _Terms(loss, worker, batch.global_crops.shape[1], chunk or default_chunk(worker.device), compiled)
    targets, centers = terms.balanced(seen, state, temperature)
    assert isinstance(state.student_network, Network), "steps over clips are not cut into parts"
    heads = _Prototypes(state.student_network)
    total: list[Losses] = []
    for number, part in enumerate(parts):
        with _synchronised(state.student, number + 1 == count):
            moved = inputs(part)
            put_out = student(moved)
            losses = terms.of_part(put_out, seen[number], targets, heads, moved, gram(put_out, moved))
            torch.autograd.backward(losses.total)
        total.append(Losses(*(value.detach() for value in losses)))
    heads.pass_on(worker, is_sharded=isinstance(state.student, FSDPModule))
    return Losses(*(torch.stack(values).sum(dim=0) for values in zip(*total, strict=True))), centers


class _Terms:
    """The objective on micro-batches: every mean is over the images of the worker's whole part."""

    def __init__(self, loss: LossConfig, worker: Worker, num_images: int, chunk: int, compiled: PassOverRows | None) -> None:
        self.loss, self.num_images, self.chunk, self.compiled = loss, num_images, chunk, compiled
        self.dtype = torch.bfloat16 if worker.bf16 else torch.float32

    def balanced(
        self, seen: Sequence[LastLayerInputs], state: TrainingState, temperature: float
    ) -> tuple[tuple[Teacher, Teacher], Centers]:
        """The teacher's last layers for class tokens and for patches, balanced over the whole batch, and the new centres."""
        loss, network = self.loss, state.teacher_network
        rows = ([part.global_rows for part in seen], [part.patch_rows for part in seen])
        dino = full_tensor(network.dino_head.last_layer.prototypes())
        ibot = dino if network.ibot_head is None else full_tensor(network.ibot_head.last_layer.prototypes())
        teachers, centers = [], []
        for own, prototypes, center in zip(rows, (dino, ibot), state.centers, strict=True):
            if loss.centering == "sinkhorn":
                column = sinkhorn_column(
                    own, prototypes, temperature, num_iterations=loss.sinkhorn_iterations, dtype=self.dtype, chunk=self.chunk
                )
                centers.append(center)
            else:
                column = center_column(center, temperature)
                centers.append(centered(center, own, prototypes, momentum=loss.center_momentum))
            teachers.append(Teacher(prototypes, temperature, column))
        return (teachers[0], teachers[1]), Centers(*centers)

    def of_part(
        self,
        student: LastLayerInputs,
        seen: LastLayerInputs,
        teachers: tuple[Teacher, Teacher],
        heads: _Prototypes,
        inputs: Inputs,
        gram: WeightedGram | None,
    ) -> Losses:
        """A micro-batch's share of each term; the shares of all add up to `compute_losses` of the whole part."""
        loss, device = self.loss, seen.global_rows.device
        class_rows = seen.global_rows.view(_NUM_GLOBAL, -1, seen.global_rows.shape[-1])
        images = class_rows.shape[1]
        num_local = 0 if student.local_rows is None else len(student.local_rows) // images
        num_pairs = _NUM_GLOBAL * (_NUM_GLOBAL - 1) + _NUM_GLOBAL * num_local

        def cross(rows: Tensor, prototypes: Tensor, theirs: Tensor, teacher: Teacher, weights: Tensor) -> Tensor:
            return fused_cross_entropy(
                rows, prototypes, theirs, teacher, weights,
                temperature=loss.student_temperature, dtype=self.dtype, chunk=self.chunk, compiled=self.compiled,
            )  # fmt: skip

        def mean(count: int, of: int) -> Tensor:
            return torch.full((count,), 1 / of, device=device)

        for_classes, for_patches = teachers
        crossed = class_rows.flip(0).flatten(0, 1)[None]
        each = mean(_NUM_GLOBAL * images, _NUM_GLOBAL * self.num_images)
        dino_global = cross(student.global_rows[None], heads.dino, crossed, for_classes, each) * _NUM_GLOBAL / num_pairs
        dino_local = dino_global.new_zeros(())
        if student.local_rows is not None:
            views = student.local_rows.view(num_local, images, -1)
            dino_local = cross(views, heads.dino, class_rows, for_classes, mean(images, self.num_images)) / num_pairs
        weights = inputs.mask_weights / (_NUM_GLOBAL * self.num_images)
        ibot = cross(student.patch_rows[None], heads.ibot, seen.patch_rows[None], for_patches, weights)
        share, apart_ms = images / self.num_images, round(loss.koleo_apart_s * 1000)
        first, second = (
            koleo_loss(crop, over=loss.koleo_over, group_size=loss.koleo_group, moments=inputs.moments, apart_ms=apart_ms)
            for crop in student.features.chunk(_NUM_GLOBAL)
        )
        koleo = (first.loss + second.loss) * share
        total = loss.dino_weight * (dino_global + dino_local) + loss.ibot_weight * ibot + loss.koleo_weight * koleo
        distance = koleo.new_zeros(()) if gram is None else gram.distance * share
        return Losses(
            total if gram is None else total + gram.weight * distance,
            dino_global,
            dino_local,
            ibot,
            koleo,
            teacher_entropy=mean_entropy(seen.global_rows, for_classes, dtype=self.dtype, chunk=self.chunk) * share,
            equal_images=(first.num_equal + second.num_equal) / _NUM_GLOBAL,
            gram=distance,
        )


class _Prototypes:
    """The student's prototypes in whole, made once a step; their gradients are added up apart from the parameters'."""

    def __init__(self, network: Network) -> None:
        heads = [network.dino_head] if network.ibot_head is None else [network.dino_head, network.ibot_head]
        self._made = [_whole(head.last_layer.prototypes()) for head in heads]
        self._leaves = [made.detach().requires_grad_() for made in self._made]
        self.dino, self.ibot = self._leaves[0], self._leaves[-1]

    def pass_on(self, worker: Worker, *, is_sharded: bool) -> None:
        """Give the parameters their gradients; DDP takes the mean over workers itself, and ends with these parameters."""
        for made, leaf in zip(self._made, self._leaves, strict=True):
            gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            torch.autograd.backward(made, worker.mean(gradient) if is_sharded else gradient)


def _whole(tensor: Tensor) -> Tensor:
    """The whole of a possibly sharded tensor, through which gradients flow."""
    whole: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole


def _without_features(rows: LastLayerInputs) -> LastLayerInputs:
    """Without what only KoLeo reads, of the student."""
    return rows._replace(features=rows.features.new_empty(0))


@contextmanager
def _synchronised(student: nn.Module, is_last: bool) -> Iterator[None]:
    """Let workers exchange gradients in the last micro-batch alone."""
    if isinstance(student, FSDPModule):
        student.set_requires_gradient_sync(is_last)
        student.set_is_last_backward(is_last)
        yield
    elif isinstance(student, DistributedDataParallel) and not is_last:
        with student.no_sync():
            yield
    else:
        yield
