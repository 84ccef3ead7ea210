"""The parts of a step that torch.compile makes faster, and a way back where it fails.

Blocks are compiled one by one, student's and teacher's alike, so all of them share a few graphs: global crops, local crops, teacher.
Names of weights stay. Numbers of crops, tokens and prototypes are constants of a graph; kept rows and hidden patches, of which every step
has another number, are not.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

from pretrain.config import TrainConfig
from pretrain.cross_entropy import loss_and_gradient
from pretrain.drop_path import KeptInBlock
from pretrain.model import Network

__all__ = ["CompiledLosses", "compile_blocks", "compile_losses", "is_wanted"]

_T = TypeVar("_T")

Backend = str | Callable[..., Any]
"""As torch.compile takes it."""
Say = Callable[[str], None]

_log = logging.getLogger(__name__)

_MOST_GRAPHS = 64  # of one function in this process; torch's own limit of 8 is for one model


def is_wanted(config: TrainConfig, device: torch.device) -> bool:
    """Whether this run compiles: where it is set on, or left open on a GPU of a machine with a C compiler, which Triton needs."""
    if config.compile == "auto":
        names = (os.environ.get("CC", "cc"), "gcc", "clang")
        return device.type == "cuda" and any(shutil.which(name) for name in names)
    return config.compile == "on"


def compile_blocks(networks: Iterable[Network], *, backend: Backend = "inductor", say: Say = _log.warning) -> None:
    """Make every block run compiled from its next forward pass on; `say` gets the sentence that it cannot be."""
    attempt = _Attempt("the blocks", say)
    for network in networks:
        for block in network.backbone.blocks:
            plain = block.forward.plain if isinstance(block.forward, _CompiledBlock) else block.forward
            block.forward = _CompiledBlock(plain, attempt, backend)


def compile_losses(*, backend: Backend = "inductor", say: Say = _log.warning) -> CompiledLosses:
    """`loss_and_gradient` compiled: a few kernels in place of twenty, and no float32 copy of the logits; `say` as above."""
    return CompiledLosses(_Attempt("the losses", say), backend)


class _Attempt:
    """Whether compilation works here, found out by doing it; errors of what runs, such as a full memory, pass through."""

    def __init__(self, what: str, say: Say) -> None:
        import torch._dynamo  # takes seconds, and most runs on a CPU compile nothing
        import torch._functorch.config
        from torch._dynamo.exc import TorchDynamoException

        self.what, self.works, self._say, self._failures = what, True, say, TorchDynamoException
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_GRAPHS)
        # backward graphs are compiled with forward ones, so that no failure comes when there is no way back
        torch._functorch.config.force_non_lazy_backward_lowering = True

    def made(self, call: Callable[[], _T]) -> _T | None:
        """The result of a compiled call, or None from the first failure on."""
        if not self.works:
            return None
        try:
            return call()
        except self._failures as error:
            self.works = False
            cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self._say(f"torch.compile failed for {self.what} ({cause[:200]}); they run uncompiled, at about two thirds of the speed")
            return None


class CompiledLosses:
    """`loss_and_gradient` compiled, or None in its place from its first failure on."""

    def __init__(self, attempt: _Attempt, backend: Backend) -> None:
        self.attempt = attempt
        self.compiled = torch.compile(loss_and_gradient, dynamic=False, backend=backend)

    def __call__(
        self, student: Tensor, logits: Tensor, row: Tensor, column: Tensor, weights: Tensor, teacher_scale: float, student_scale: float
    ) -> tuple[Tensor, Tensor] | None:
        """As `loss_and_gradient`."""
        for tensor in (student, logits, row):
            torch._dynamo.maybe_mark_dynamic(tensor, 1)
        torch._dynamo.maybe_mark_dynamic(weights, 0)
        scale = torch.full((), teacher_scale, device=student.device)  # changes from step to step, as no constant of a graph may
        return self.attempt.made(lambda: self.compiled(student, logits, row, column, weights, scale, student_scale))


class _CompiledBlock:
    """The forward pass of a block, in place of its own; hooks of DDP and FSDP stay outside."""

    def __init__(self, plain: Callable[..., Tensor], attempt: _Attempt, backend: Backend) -> None:
        self.plain, self.attempt = plain, attempt
        self.compiled = torch.compile(plain, dynamic=False, backend=backend)

    def __call__(self, x: Tensor, *arguments: Any, kept: KeptInBlock | None = None, **named: Any) -> Tensor:
        if kept is not None:
            for rows in (kept.attention, kept.mlp):
                torch._dynamo.maybe_mark_dynamic(rows, 0)
        found = self.attempt.made(lambda: self.compiled(x, *arguments, kept=kept, **named))
        return self.plain(x, *arguments, kept=kept, **named) if found is None else found
