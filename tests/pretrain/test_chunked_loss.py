"""Last layer and cross-entropy in one, against autograd through the plain formula; and the largest matrix that is made."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain.chunked_loss import Teacher, fused_cross_entropy, mean_entropy
from pretrain.chunked_targets import center_column, sinkhorn_column

DIM = 8


def plain(student: Tensor, prototypes: Tensor, rows: Tensor, teacher: Teacher, weights: Tensor, temperature: float) -> Tensor:
    probs = (rows @ teacher.prototypes.T / teacher.temperature + teacher.column).softmax(dim=-1)
    log_probs = (student @ prototypes.T / temperature).log_softmax(dim=-1)
    return -(probs[None] * log_probs[:, None] * weights[:, None]).sum()


def drawn(num_rows: int, num_prototypes: int, views: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Student rows and prototypes that take gradients, teacher rows and prototypes, weights."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((views[0], num_rows, DIM), (num_prototypes, DIM), (views[1], num_rows, DIM), (num_prototypes, DIM))
    student, own, rows, theirs = (F.normalize(torch.randn(shape, generator=generator, dtype=dtype), dim=-1) for shape in shapes)
    return student.requires_grad_(), own.requires_grad_(), rows, theirs, torch.rand(num_rows, generator=generator, dtype=dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("views", [(1, 1), (3, 2)], ids=["ibot", "dino"])
@pytest.mark.parametrize("centering", ["sinkhorn", "softmax"])
@pytest.mark.parametrize("chunk", [1, 400, 1 << 20], ids=["row", "rows", "all"])
def test_loss_and_gradients_are_those_of_the_formula(
    chunk: int, centering: str, views: tuple[int, int], dtype: torch.dtype, tolerance: float
) -> None:
    student, prototypes, rows, theirs, weights = drawn(13, 40, views, dtype)
    if centering == "sinkhorn":
        column = sinkhorn_column([rows.flatten(0, 1)], theirs, 0.2, num_iterations=3, dtype=dtype, chunk=chunk)
    else:
        column = center_column(torch.linspace(-1, 1, 40, dtype=dtype), 0.2)
    teacher = Teacher(theirs, 0.2, column)
    loss = fused_cross_entropy(student, prototypes, rows, teacher, weights, temperature=0.1, dtype=dtype, chunk=chunk)
    torch.autograd.backward(1.5 * loss)
    found = [loss.detach(), student.grad, prototypes.grad]
    student.grad = prototypes.grad = None
    expected = plain(student, prototypes, rows, teacher, weights, 0.1)
    torch.autograd.backward(1.5 * expected)
    for own, other in zip(found, [expected.detach(), student.grad, prototypes.grad], strict=True):
        assert own is not None
        assert other is not None
        assert float((own - other).norm()) <= tolerance * float(other.norm())


def test_products_in_bfloat16_follow_those_in_float32() -> None:
    student, prototypes, rows, theirs, weights = drawn(13, 40, (1, 1), torch.float32)
    teacher = Teacher(theirs, 0.2, torch.zeros(1, 40))
    gradients: list[Tensor] = []
    for dtype in (torch.float32, torch.bfloat16):
        student.grad = prototypes.grad = None
        loss = fused_cross_entropy(student, prototypes, rows, teacher, weights, temperature=0.1, dtype=dtype, chunk=200)
        torch.autograd.backward(loss)
        assert prototypes.grad is not None
        gradients.append(prototypes.grad)
    assert gradients[1].dtype == torch.float32
    assert 0 < float((gradients[1] - gradients[0]).norm()) < 2e-2 * float(gradients[0].norm())


def test_entropy_is_that_of_all_rows() -> None:
    _, _, rows, theirs, _ = drawn(13, 40, (1, 1), torch.float32)
    teacher = Teacher(theirs, 0.2, torch.zeros(1, 40))
    probs = (rows[0] @ theirs.T / 0.2).softmax(dim=-1)
    found = mean_entropy(rows[0], teacher, dtype=torch.float32, chunk=200)
    torch.testing.assert_close(found, -(probs * probs.log()).sum(dim=-1).mean())


class Elements(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The largest tensor that any operation makes, and how many elements of tensors that are no views are alive at most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest, self.alive, self.peak = 0, 0, 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.numel())
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self._seen:
                    self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, count = storage.data_ptr(), storage.nbytes() // 4
        self._seen.add(key)
        self.alive += count
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, key, count)

    def _forget(self, key: int, count: int) -> None:
        self._seen.discard(key)
        self.alive -= count


def measured(chunk: int, call: Callable[[int], Tensor]) -> Elements:
    mode = Elements()
    with mode:
        loss = call(chunk)
        if loss.requires_grad:
            torch.autograd.backward(loss)
    return mode


@pytest.mark.parametrize("centering", ["sinkhorn", "softmax"])
def test_no_matrix_is_larger_than_a_chunk_forward_and_backward(centering: str) -> None:
    student, prototypes, rows, theirs, weights = drawn(600, 500, (1, 1), torch.float32)  # 300,000 logits, prototypes of 4,000 numbers

    def step(chunk: int) -> Tensor:
        if centering == "sinkhorn":
            column = sinkhorn_column([rows[0]], theirs, 0.2, num_iterations=3, dtype=torch.float32, chunk=chunk)
        else:
            column = center_column(torch.zeros(1, 500), 0.2)
        teacher = Teacher(theirs, 0.2, column)
        mean_entropy(rows[0], teacher, dtype=torch.float32, chunk=chunk)
        return fused_cross_entropy(student, prototypes, rows, teacher, weights, temperature=0.1, dtype=torch.float32, chunk=chunk)

    small, whole = measured(8_000, step), measured(1 << 30, step)
    assert (small.largest, whole.largest) == (8_000, 300_000)
    assert small.peak <= 100_000
    assert whole.peak >= 900_000
