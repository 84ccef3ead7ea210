"""KoLeo: push the class tokens of a batch apart, each from its nearest neighbour.

DINOv2 looks for neighbours among the images of one GPU. That makes the loss depend on the number of
workers, so here the usual pool is a group of consecutive positions of the global batch.
Source: Sablayrolles et al. 2019; DINOv2 (Oquab et al. 2023, section 4).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

__all__ = ["KoLeo", "Pool", "koleo_loss"]

Pool = Literal["device", "group", "all"]
"""Where neighbours are looked for: images of the same worker, of the same group, or all."""

_EQUAL_COSINE = 1 - 1e-6
_NOBODY = -2.0  # below every cosine


class KoLeo(NamedTuple):
    """The loss, and what its guard left out."""

    loss: Tensor
    """mean over the images of this rank; images without a neighbour count as 0"""
    num_equal: Tensor
    """images of this rank that look equal to another of their pool"""


def koleo_loss(
    features: Tensor,
    *,
    over: Pool,
    group_size: int = 32,
    moments: Tensor | None = None,
    apart_ms: int = 0,
    guard_equal: bool = True,
    eps: float = 1e-8,
) -> KoLeo:
    """Kozachenko-Leonenko estimator: minus the mean log distance to the nearest neighbour.

    Equal images would be neighbours at distance zero, with a gradient of millions that hides all
    others. Pairs whose features have a cosine above 1 - 1e-6 are therefore no neighbours, and
    neither are frames of one video that are close in time.

    Args:
        features: (images of this rank, dim), before any head; normalised here. Ranks hold equally
            many images, at consecutive positions of the global batch.
        over: the pool of neighbours. `group` and `all` do not depend on the number of ranks.
        group_size: images of a group; the last group of a batch may be smaller.
        moments: (images of this rank, 2) int64, video and milliseconds; a negative video is unknown.
        apart_ms: frames of one video less than this apart are no neighbours.
        guard_equal: false also takes equal images as neighbours, as the reference does.
        eps: keeps distance and logarithm finite.
    """
    with torch.autocast(features.device.type, enabled=False), torch.no_grad():
        num_images = len(features)
        rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)
        first = rank * num_images  # position of this rank's first image in the global batch
        is_spread = over == "all" or (over == "group" and num_images % group_size != 0)
        gathers = is_spread and world_size > 1
        own_at = torch.arange(first, first + num_images, device=features.device)
        pool_at = torch.arange(world_size * num_images, device=features.device) if gathers else own_at
    with torch.autocast(features.device.type, enabled=False):
        own = F.normalize(features.float(), dim=-1, eps=eps)
        pool: Tensor = _GatherRows.apply(own) if gathers else own
        with torch.no_grad():
            apart = own_at[:, None] == pool_at[None]  # no image is its own neighbour
            if over == "group":
                apart |= (own_at // group_size)[:, None] != (pool_at // group_size)[None]
            similarity = own @ pool.T
            equal = (similarity > _EQUAL_COSINE) & ~apart
            if guard_equal:
                apart |= equal
            if moments is not None and apart_ms > 0:
                apart |= _close(moments, _gather(moments) if gathers else moments, apart_ms)
            highest, nearest = similarity.masked_fill_(apart, _NOBODY).max(dim=1)
        distance = F.pairwise_distance(own, pool[nearest], eps=eps)
        log_distance = torch.where(highest == _NOBODY, 0.0, (distance + eps).log())  # what is not a number stays so
        return KoLeo(-log_distance.mean(), equal.any(dim=1).sum())


def _close(own: Tensor, pool: Tensor, apart_ms: int) -> Tensor:
    """(own, pool) bool: frames of one known video less than `apart_ms` apart."""
    same_video = (own[:, None, 0] == pool[None, :, 0]) & (own[:, None, 0] >= 0)
    return same_video & ((own[:, None, 1] - pool[None, :, 1]).abs() < apart_ms)


def _gather(rows: Tensor) -> Tensor:
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


class _GatherRows(torch.autograd.Function):
    """The rows of all ranks in order; a rank's rows get the gradients that every rank has for them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.num_rows = len(rows)
        return _gather(rows)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        gradient = upstream[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        first = dist.get_rank() * ctx.num_rows
        return gradient[first : first + ctx.num_rows]
