"""Last layer of a head and cross-entropy in one, over a few rows at a time: no matrix of all rows and prototypes is ever made.

At 2,048 images a step has 157,000 hidden patches, whose logits over 65,536 prototypes are 41 GB in float32. Here each chunk's logits are
made, used for loss, gradient of the student's rows and gradient of its prototypes, and dropped. The student's products are those of an
ordinary step; only the teacher's logits are made once more than there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.cross_entropy import PassOverRows, loss_and_gradient

__all__ = ["CHUNK_ELEMENTS", "Teacher", "chunks", "default_chunk", "fused_cross_entropy", "mean_entropy", "wide"]

CHUNK_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 27}  # a GPU adds to the prototypes' gradient once a chunk, so its chunks are larger


class Teacher(NamedTuple):
    """A teacher's balanced last layer: the probabilities of a row are softmax(logits / temperature + column)."""

    prototypes: Tensor
    """(prototypes, dim) float32, their lengths included"""
    temperature: float
    column: Tensor
    """(1, prototypes) float32"""


def default_chunk(device: torch.device) -> int:
    """Elements of the largest matrix that a pass over rows makes on a device."""
    return CHUNK_ELEMENTS.get(device.type, 1 << 25)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type of sums: float32, or float64 for float64."""
    return torch.promote_types(dtype, torch.float32)


def chunks(num_rows: int, width: int, chunk: int) -> Iterator[slice]:
    """Slices of so many rows that rows times `width` is at most `chunk`, but of one row at least."""
    step = max(1, chunk // width)
    return (slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step))


def fused_cross_entropy(
    student: Tensor,
    prototypes: Tensor,
    rows: Tensor,
    teacher: Teacher,
    weights: Tensor,
    *,
    temperature: float,
    dtype: torch.dtype,
    chunk: int,
    compiled: PassOverRows | None = None,
) -> Tensor:
    """As `cross_entropy`, from what both last layers are given.

    Args:
        student: (student views, rows, dim), input of the student's last layer.
        prototypes: (prototypes, dim) of the student, their lengths included.
        rows: (teacher views, rows, dim), input of the teacher's last layer; takes no gradient.
        teacher: its balanced last layer.
        weights: (rows,) float32.
        temperature: of the student's softmax.
        dtype: of matrix products.
        chunk: elements of the largest matrix that is made, where one row is no larger.
        compiled: `loss_and_gradient` compiled.

    Returns:
        Weighted sum over rows and pairs of views, without dimensions.
    """
    arguments = (student, prototypes, rows, teacher, weights, 1 / temperature, dtype, chunk, compiled)
    loss: Tensor = _FusedCrossEntropy.apply(*arguments)
    return loss


@torch.no_grad()
def mean_entropy(rows: Tensor, teacher: Teacher, *, dtype: torch.dtype, chunk: int) -> Tensor:
    """Mean entropy in nats of the teacher's probabilities, of (rows, dim)."""
    total = rows.new_zeros((), dtype=wide(dtype))
    with torch.autocast(rows.device.type, enabled=False):
        prototypes = teacher.prototypes.to(dtype)
        for part in chunks(len(rows), len(prototypes), chunk):
            scaled = _scaled(F.linear(rows[part].to(dtype), prototypes), teacher)
            total += torch.special.entr(scaled.softmax(dim=-1)).sum()
    return total / max(len(rows), 1)


def _scaled(logits: Tensor, teacher: Teacher) -> Tensor:
    return torch.add(teacher.column, logits, alpha=1 / teacher.temperature)


class _FusedCrossEntropy(torch.autograd.Function):
    """Its forward pass makes both gradients too, chunk by chunk; the backward pass scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        prototypes: Tensor,
        rows: Tensor,
        teacher: Teacher,
        weights: Tensor,
        student_scale: float,
        dtype: torch.dtype,
        chunk: int,
        compiled: PassOverRows | None,
    ) -> Tensor:
        num_views, num_rows, dim = student.shape
        losses = weights.new_empty(num_rows)
        by_student, by_prototypes = torch.empty_like(student), torch.zeros_like(prototypes)
        teacher_scale = 1 / teacher.temperature
        with torch.autocast(student.device.type, enabled=False):
            own, others = prototypes.to(dtype), teacher.prototypes.to(dtype)
            for part in chunks(num_rows, max(num_views, len(rows)) * len(own), chunk):
                inputs = student[:, part].to(dtype)
                theirs = F.linear(rows[:, part].to(dtype), others)
                row = -_scaled(theirs, teacher).logsumexp(dim=-1, keepdim=True)
                arguments = (F.linear(inputs, own), theirs, row, teacher.column, weights[part], teacher_scale, student_scale)
                found = compiled(*arguments) if compiled and inputs.shape[1] > 1 else None
                losses[part], gradient = loss_and_gradient(*arguments) if found is None else found
                del arguments, theirs, found
                by_student[:, part] = (gradient @ own).to(student.dtype)
                flat, flat_inputs = gradient.flatten(0, 1), inputs.reshape(-1, dim)
                if dtype == by_prototypes.dtype:
                    by_prototypes.addmm_(flat.T, flat_inputs)
                else:
                    by_prototypes += flat.T @ flat_inputs
        ctx.save_for_backward(by_student, by_prototypes)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        by_student, by_prototypes = ctx.saved_tensors
        return by_student.mul_(upstream[0]), by_prototypes.mul_(upstream[0]), None, None, None, None, None, None, None
