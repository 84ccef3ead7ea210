"""Balancing of the teacher over the whole global batch without its logits: from what its last layer is given, a few rows at a time.

Sinkhorn-Knopp multiplies rows and columns by factors. Rows end normalised, so the targets follow from the columns' factors alone. Each
iteration makes the logits once more, chunk by chunk. Softmax centring needs no pass: the mean logit is the last layer of the mean row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from pretrain.chunked_loss import chunks, wide
from pretrain.losses import LEAST, all_reduce

__all__ = ["center_column", "centered", "sinkhorn_column"]


@torch.no_grad()
def sinkhorn_column(
    parts: Sequence[Tensor], prototypes: Tensor, temperature: float, *, num_iterations: int, dtype: torch.dtype, chunk: int
) -> Tensor:
    """The logarithm of the columns' factors that `sinkhorn_knopp` finds for the logits of all parts on all ranks.

    Args:
        parts: (rows, dim) each, input of the teacher's last layer; ranks may have different numbers of rows, also none.
        prototypes: (prototypes, dim) of the teacher, their lengths included.
        temperature: divides the logits.
        num_iterations: of normalising prototypes, then rows.
        dtype: of the product that makes logits.
        chunk: elements of the largest matrix that is made, where one row is no larger.

    Returns:
        (1, prototypes) float32.
    """
    with torch.autocast(prototypes.device.type, enabled=False):
        weight = prototypes.to(dtype)
        highest = weight.new_full((), -torch.inf, dtype=wide(dtype))
        sums = weight.new_zeros(len(weight), dtype=wide(dtype))
        for rows in _every(parts, len(weight), chunk):  # all rows count equally at first, in units of the highest logit so far
            exponentials, shift = _exponentials(rows, weight, temperature)
            higher = torch.maximum(highest, shift.max())
            sums = torch.addmv(sums * (highest - higher).exp(), exponentials.T, (shift - higher).exp())
            highest = higher
        top = all_reduce(highest.clone(), dist.ReduceOp.MAX)
        column = _inverse(all_reduce(sums * (highest - top).nan_to_num(nan=0.0).exp()))
        for _ in range(num_iterations - 1):
            sums = torch.zeros_like(sums)
            for rows in _every(parts, len(weight), chunk):
                exponentials, _ = _exponentials(rows, weight, temperature)
                sums.addmv_(exponentials.T, _inverse(exponentials @ column))
            column = _inverse(all_reduce(sums))
        return column.log_().unsqueeze(0)


@torch.no_grad()
def center_column(center: Tensor, temperature: float) -> Tensor:
    """What softmax centring adds to logits / temperature, (1, prototypes)."""
    return center.view(1, -1) / -temperature


@torch.no_grad()
def centered(center: Tensor, parts: Sequence[Tensor], prototypes: Tensor, *, momentum: float) -> Tensor:
    """The centre after a batch, as `update_center` makes it from the logits of all parts on all ranks.

    Args:
        center: (1, prototypes).
        parts: (rows, dim) each, input of the teacher's last layer.
        prototypes: (prototypes, dim) of the teacher, their lengths included.
        momentum: weight of the old centre.
    """
    with torch.autocast(center.device.type, enabled=False):
        totals = [part.sum(dim=0, keepdim=True, dtype=wide(part.dtype)) for part in parts]
        total = all_reduce(torch.stack(totals).sum(dim=0))
        num_rows = all_reduce(total.new_full((), float(sum(len(part) for part in parts))))
        mean = F.linear(total / num_rows.clamp(min=1), prototypes.to(total.dtype))
        return center * momentum + mean * (1 - momentum)


def _every(parts: Sequence[Tensor], width: int, chunk: int) -> list[Tensor]:
    """Views of all rows of all parts, chunk after chunk."""
    return [part[rows] for part in parts for rows in chunks(len(part), width, chunk)]


def _exponentials(rows: Tensor, weight: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """exp(logits / temperature - shift) and each row's shift, its highest."""
    logits = F.linear(rows.to(weight.dtype), weight)
    shift = logits.amax(dim=1).to(wide(weight.dtype)) / temperature
    return torch.add(-shift.unsqueeze(1), logits, alpha=1 / temperature).exp_(), shift


def _inverse(sums: Tensor) -> Tensor:
    return sums.clamp(min=LEAST).reciprocal()
