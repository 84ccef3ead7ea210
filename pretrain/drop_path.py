"""Stochastic depth that saves compute, with draws that do not depend on the number of workers.

A residual branch runs on a random subset of the rows of a batch, and its result is scaled up (DINOv2, section 5). DINOv2 draws the subset
over the rows of one GPU, so another number of GPUs drops other branches. Here it is drawn over the global batch, of which every worker
takes its own images. Each image keeps nearly the same number of its crops in each branch, so workers do equal work to one row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import Block
from torch import Tensor

__all__ = ["KeptInBlock", "KeptRows", "StochasticDepthBlock", "draw_kept_rows", "residual_on"]

_NUM_BRANCHES = 2  # attention and MLP


class KeptInBlock(NamedTuple):
    """Rows of a batch on which the two residual branches of one block run."""

    attention: Tensor
    """(kept rows,) int64, ascending"""
    attention_places: Tensor
    """(rows of the batch,) int64, the place of each row among those kept, -1 where it is not"""
    mlp: Tensor
    """(kept rows,) int64, ascending"""
    mlp_places: Tensor
    """(rows of the batch,) int64"""
    scale: float
    """factor of a branch's result that makes up for the rows that skip it"""


class KeptRows(NamedTuple):
    """Rows of a batch on which the residual branches of each block run."""

    rows: Tensor
    """(depth, 2, most rows) int64, ascending; padded with 0"""
    places: Tensor
    """(depth, 2, rows of the batch) int64, the place of each row among those kept, -1 where it is not"""
    counts: Tensor
    """(depth, 2) int64, how many of them count; stays on the CPU, where shapes are decided"""
    scale: float
    """factor of a branch's result that makes up for the rows that skip it"""

    def to(self, device: torch.device) -> KeptRows:
        """With all that a block reads on the device."""
        rows, places = (tensor.to(device, non_blocking=True) for tensor in (self.rows, self.places))
        return self._replace(rows=rows, places=places)

    def of_images(self, own: slice, num_images: int) -> KeptRows:
        """Those of some images, numbered within their rows; on the CPU.

        Args:
            own: a slice of range(num_images).
            num_images: of the batch, whose rows are crop-major.
        """
        keep = (self.places >= 0).view(*self.places.shape[:2], -1, num_images)[..., own].flatten(-2)
        return _kept(keep.numpy(), self.scale)

    def of_block(self, number: int) -> KeptInBlock:
        """Rows of the attention and of the MLP branch of a block, and the scale."""
        (attention, mlp), (num_attention, num_mlp) = self.rows[number], self.counts[number].tolist()
        places = self.places[number]
        return KeptInBlock(attention[:num_attention], places[0], mlp[:num_mlp], places[1], self.scale)


class StochasticDepthBlock(Block):
    """timm's block whose residual branches can run on some of the rows; timm's own DropPath computes all and throws results away."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, kept: KeptInBlock | None = None) -> Tensor:
        """Apply the block.

        Args:
            x: (rows, tokens, dim).
            attn_mask: as in timm.
            is_causal: as in timm.
            kept: rows of the attention and of the MLP branch; None runs both on all rows.

        Returns:
            (rows, tokens, dim).
        """
        if kept is None:
            x = x + self.ls1(self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)).to(x.dtype)
            added: Tensor = self.ls2(self.mlp(self.norm2(x))).to(x.dtype)
            return x + added
        x = residual_on(x, kept.attention, kept.attention_places, kept.scale, lambda rows: self.ls1(self.attn(self.norm1(rows))))
        return residual_on(x, kept.mlp, kept.mlp_places, kept.scale, lambda rows: self.ls2(self.mlp(self.norm2(rows))))


def residual_on(x: Tensor, kept: Tensor, places: Tensor, scale: float, branch: Callable[[Tensor], Tensor]) -> Tensor:
    """Add a branch's result on some rows, scaled; `kept` and `places` are as in `KeptInBlock`."""
    if torch.compiler.is_compiling() and len(kept) > 0:
        # reading by place, forward and backward, becomes part of the operations around it; scattering never does
        taken: Tensor = _Taken.apply(x, kept, places)
        added: Tensor = _Added.apply(x, branch(taken), kept, places, scale)
        return added
    return x.index_add(0, kept, branch(x.index_select(0, kept)).to(x.dtype), alpha=scale)


def _spread(taken: Tensor, places: Tensor) -> Tensor:
    """Taken rows where they came from, zeros elsewhere."""
    return torch.where((places >= 0)[:, None, None], taken.index_select(0, places.clamp(min=0)), 0)


class _Taken(torch.autograd.Function):
    """Some rows of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return x.index_select(0, kept)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        return _spread(upstream[0], places), None, None


class _Added(torch.autograd.Function):
    """x with scaled rows added where they came from."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, kept: Tensor, places: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale, ctx.dtype = scale, rows.dtype
        return x + _spread(rows, places).to(x.dtype) * scale

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (kept,) = ctx.saved_tensors
        return upstream[0], (upstream[0].index_select(0, kept) * ctx.scale).to(ctx.dtype), None, None, None


def draw_kept_rows(own: slice, *, batch_size: int, num_views: int, depth: int, rate: float, rng: np.random.Generator) -> KeptRows:
    """Draw over a global batch on which rows each residual branch runs, and take one worker's part.

    In each branch, image i keeps floor((i + 1) * share + start) - floor(i * share + start) of its crops, where share is
    num_views * (1 - rate) and start is uniform. So every row is kept with probability 1 - rate.

    Args:
        own: this worker's images in the batch, a slice of range(batch_size).
        batch_size: images of the global batch.
        num_views: crops of an image; rows are crop-major, row = view * images + image.
        depth: number of blocks.
        rate: share of rows that skip a branch, in [0, 1).
        rng: the same generator state on every worker.

    Returns:
        This worker's rows, numbered within its part.
    """
    share = num_views * (1 - rate)
    edges = np.floor(np.arange(batch_size + 1) * share + rng.random((depth, _NUM_BRANCHES, 1)))
    num_kept = np.diff(edges, axis=-1)[..., own]
    order = rng.random((depth, _NUM_BRANCHES, batch_size, num_views), np.float32)[:, :, own].argsort(axis=-1).argsort(axis=-1)
    keep = (order < num_kept[..., None]).swapaxes(-1, -2).reshape(depth, _NUM_BRANCHES, -1)
    return _kept(keep, 1 / (1 - rate))


def _kept(keep: NDArray[np.bool_], scale: float) -> KeptRows:
    """Of (depth, 2, rows of the batch), true where kept."""
    counts = keep.sum(axis=-1)
    rows = np.zeros((*counts.shape, counts.max()), np.int64)
    rows[np.arange(rows.shape[-1]) < counts[..., None]] = np.nonzero(keep)[-1]
    places = np.where(keep, keep.cumsum(axis=-1) - 1, -1)
    return KeptRows(torch.from_numpy(rows), torch.from_numpy(places), torch.from_numpy(counts), scale)
