"""Loss and gradient against autograd through the plain formula, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pretrain.cross_entropy import cross_entropy, loss_and_gradient
from pretrain.losses import sinkhorn_knopp, softmax_center

PROTOTYPES = 1 << 14


def plain(student: Tensor, probs: Tensor, weights: Tensor, temperature: float) -> Tensor:
    log_probs = (student.double() / temperature).log_softmax(dim=-1)
    return -(probs.double()[None] * log_probs[:, None] * weights.double()[:, None]).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradient_are_those_of_the_formula_over_all_pairs_of_views(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = 5
    student = torch.randn(3, rows, 40, generator=generator).to(dtype).requires_grad_()
    logits = torch.randn(2 * rows, 40, generator=generator).to(dtype)
    teacher = sinkhorn_knopp(logits, 0.3).views(2)
    weights = torch.rand(rows, generator=generator)
    loss = cross_entropy(student, teacher, weights, temperature=0.2)
    torch.autograd.backward(1.5 * loss)
    found, student.grad = student.grad, None
    expected = plain(student, teacher.probs(), weights, 0.2)
    torch.autograd.backward(1.5 * expected)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(found, student.grad)


def test_rows_beyond_one_chunk_give_what_all_at_once_give() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = 2 * (1 << 22) // PROTOTYPES + 3  # two chunks of a CPU and a part
    student = torch.randn(1, rows, PROTOTYPES, generator=generator).bfloat16().requires_grad_()
    teacher = softmax_center(torch.randn(rows, PROTOTYPES, generator=generator).bfloat16(), torch.zeros(1, PROTOTYPES), 0.5)
    weights = torch.rand(rows, generator=generator)
    whole, gradient = loss_and_gradient(
        student.detach(), teacher.logits[None], teacher.row[None], teacher.column, weights, 1 / 0.5, 1 / 0.1
    )
    loss = cross_entropy(student, teacher, weights, temperature=0.1)
    torch.autograd.backward(loss)
    torch.testing.assert_close(loss, whole.sum())
    torch.testing.assert_close(student.grad, gradient)


def test_a_row_far_below_all_others_keeps_its_targets() -> None:
    # one maximum for all rows lets rows that lie 87 temperatures below it underflow, so that they have no targets
    logits = torch.randn(8, 6, generator=torch.Generator().manual_seed(2))
    logits[0] -= 10.0
    probs = sinkhorn_knopp(logits, 0.04).probs()
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(8))
