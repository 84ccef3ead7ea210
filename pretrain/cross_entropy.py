"""Cross-entropy of many prototypes that never stores a probability: they follow from the teacher's logits, row by row.

At 65,536 prototypes one float32 copy of a batch's patch logits is gigabytes, and softmax, product and their gradients would hold five. Here
the loss and its gradient come from one pass over a few rows at a time; torch.compile makes that pass two kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["PassOverRows", "TeacherProbs", "cross_entropy", "loss_and_gradient"]

_CHUNK_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 25}  # of one float32 copy: a CPU's cache, or enough work for a GPU


class TeacherProbs(NamedTuple):
    """Probabilities exp(logits / temperature + row + column)."""

    logits: Tensor
    """(..., rows, prototypes)"""
    temperature: float
    row: Tensor
    """(..., rows, 1) float32"""
    column: Tensor
    """(1, prototypes) float32"""

    def probs(self) -> Tensor:
        """All of them, (..., rows, prototypes) float32."""
        return _probs(self.logits, self.row, self.column, 1 / self.temperature)

    def views(self, count: int) -> TeacherProbs:
        """Rows that lie one view after another, as (views, rows of a view, prototypes)."""
        return self._replace(logits=self.logits.view(count, -1, self.logits.shape[-1]), row=self.row.view(count, -1, 1))

    def flip(self) -> TeacherProbs:
        """The views in reverse order."""
        return self._replace(logits=self.logits.flip(0), row=self.row.flip(0))

    def flatten(self) -> TeacherProbs:
        """The views one after another, as rows."""
        return self._replace(logits=self.logits.flatten(0, 1), row=self.row.flatten(0, 1))


PassOverRows = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float, float], tuple[Tensor, Tensor] | None]
"""`loss_and_gradient` compiled, or None where that failed."""


def cross_entropy(
    student: Tensor, teacher: TeacherProbs, weights: Tensor, *, temperature: float, compiled: PassOverRows | None = None
) -> Tensor:
    """Weighted sum over rows, over every pair of a student view and a teacher view.

    Args:
        student: (rows, prototypes) logits, or (student views, rows, prototypes).
        teacher: of (rows, prototypes), or of (teacher views, rows, prototypes); takes no gradient.
        weights: (rows,) float32.
        temperature: of the student's softmax.
        compiled: `loss_and_gradient` compiled; None runs it as it is, on few rows at a time.

    Returns:
        float32, without dimensions.
    """
    logits, row = (tensor if tensor.ndim == 3 else tensor.unsqueeze(0) for tensor in (teacher.logits, teacher.row))
    views = student if student.ndim == 3 else student.unsqueeze(0)
    arguments = (views, logits, row, teacher.column, weights, 1 / teacher.temperature, 1 / temperature, compiled)
    loss: Tensor = _CrossEntropy.apply(*arguments)
    return loss


def _probs(logits: Tensor, row: Tensor, column: Tensor, scale: float | Tensor) -> Tensor:
    if isinstance(scale, Tensor):  # compiled: one expression, in registers
        return (logits.float() * scale + row + column).exp()
    return torch.add(row, logits, alpha=scale).add_(column).exp_()


def loss_and_gradient(
    student: Tensor, logits: Tensor, row: Tensor, column: Tensor, weights: Tensor, teacher_scale: float | Tensor, student_scale: float
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row, weighted, and the gradient of their sum; the logits of both are read, nothing else of that size is kept.

    Args:
        student: (student views, rows, prototypes).
        logits: (teacher views, rows, prototypes), of the teacher.
        row: (teacher views, rows, 1).
        column: (1, prototypes).
        weights: (rows,).
        teacher_scale: one over the teacher's temperature; a tensor where this function is compiled.
        student_scale: one over the student's.

    Returns:
        (rows,) float32, and the gradient as the student's logits are.
    """
    probs = _probs(logits, row, column, teacher_scale).sum(dim=0)
    mass = probs.sum(dim=-1)
    scaled = student.to(torch.promote_types(student.dtype, torch.float32)) * student_scale
    log_sums = scaled.logsumexp(dim=-1)
    losses = (mass * log_sums.sum(dim=0) - (probs * scaled.sum(dim=0)).sum(dim=-1)) * weights
    gradient = ((scaled - log_sums[..., None]).exp() * mass[:, None] - probs) * (weights * student_scale)[:, None]
    return losses, gradient.to(student.dtype)


class _CrossEntropy(torch.autograd.Function):
    """The gradient is made together with the loss; what is left for the backward pass is a factor."""

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        logits: Tensor,
        row: Tensor,
        column: Tensor,
        weights: Tensor,
        teacher_scale: float,
        student_scale: float,
        compiled: PassOverRows | None,
    ) -> Tensor:
        num_views, num_rows, num_prototypes = student.shape
        found = compiled(student, logits, row, column, weights, teacher_scale, student_scale) if compiled and num_rows > 1 else None
        if found is not None:
            losses, gradient = found
        else:
            gradient = torch.empty_like(student)
            losses = weights.new_empty(num_rows)
            chunk = max(1, _CHUNK_ELEMENTS.get(student.device.type, 1 << 25) // (num_views * num_prototypes))
            for start in range(0, num_rows, chunk):
                rows = slice(start, start + chunk)
                losses[rows], gradient[:, rows] = loss_and_gradient(
                    student[:, rows], logits[:, rows], row[:, rows], column, weights[rows], teacher_scale, student_scale
                )
        ctx.save_for_backward(gradient)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(upstream[0]), None, None, None, None, None, None, None
