"""Gram anchoring: similarities between a crop's patches stay near those of an earlier teacher.

In long runs patch features lose their detail while class features still gain. The anchor, a frozen teacher from before, holds the student
to the cosines between all pairs of its patches, and leaves the features themselves free.
Source: DINOv3 (Simeoni et al. 2025, section 4). As in its code the squared Frobenius norm is divided by the number of pairs, so that a
weight means the same at any grid.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config import GramConfig
from pretrain.model import Backbone, forward_tokens
from pretrain.parallel import full_tensor

__all__ = ["WeightedGram", "anchor_of", "anchor_patches", "gram_distance", "gram_weight", "is_refreshed", "refresh", "used_patches"]


class WeightedGram(NamedTuple):
    """The term of a step."""

    distance: Tensor
    """()"""
    weight: float


def gram_distance(student: Tensor, anchor: Tensor, used: Tensor | None = None) -> Tensor:
    """Squared Frobenius distance between two Gram matrices of L2-normalised patches, divided by the number of pairs; mean over crops.

    Args:
        student: (crops, patches, dim); the gradient flows into these alone.
        anchor: (crops, patches, dim of its own).
        used: (crops, patches), true at patches that count; None for all. A crop without any adds 0.

    Returns:
        (), float32 or the inputs' own if that is wider; 0 for equal directions and at most 4.
    """
    with torch.autocast(student.device.type, enabled=False):
        theirs = _gram(anchor.detach())
        squares = (_gram(student) - theirs).square()
        if used is None:
            return squares.mean()
        pairs = (used.unsqueeze(2) & used.unsqueeze(1)).to(squares.dtype)
        return ((squares * pairs).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(min=1)).mean()


def _gram(patches: Tensor) -> Tensor:
    directions = F.normalize(patches if patches.dtype == torch.float64 else patches.float(), dim=-1)
    return directions @ directions.transpose(1, 2)


def gram_weight(step: int, config: GramConfig) -> float:
    """The term's weight at a step, 0 for the first: 0 before `start_step`, a line over the warm-up, then the whole weight."""
    since = step - config.start_step
    if since < 0:
        return 0.0
    return config.weight * min(1.0, (since + 1) / (config.warmup_steps + 1))


def used_patches(masks: Tensor, config: GramConfig) -> Tensor | None:
    """Patches that count, of (crops, patches) masks that are true where the student sees nothing; None for all."""
    if config.tokens == "all":
        return None
    return masks if config.tokens == "hidden" else ~masks


def anchor_of(backbone: Backbone) -> Backbone:
    """A frozen copy."""
    return copy.deepcopy(backbone).eval().requires_grad_(False)


@torch.no_grad()
def anchor_patches(anchor: Backbone, crops: Tensor, *, scale: int = 1) -> Tensor:
    """The anchor's patch features on the student's grid.

    Args:
        anchor: takes crops of any size.
        crops: (crops, 3, side, side), normalised.
        scale: the anchor sees crops enlarged so many times. Its features come from a finer grid and are smoothed by reducing them; the crop
            has no more detail than the student's.

    Returns:
        (crops, patches, dim).
    """
    if scale == 1:
        return forward_tokens(anchor, crops)[1]
    larger = F.interpolate(crops, scale_factor=float(scale), mode="bicubic", align_corners=False)
    patches = forward_tokens(anchor, larger)[1]
    grid = math.isqrt(patches.shape[1])
    planes = patches.float().transpose(1, 2).reshape(len(patches), -1, grid, grid)
    reduced = F.interpolate(planes, size=(grid // scale, grid // scale), mode="bicubic", align_corners=False, antialias=True)
    return reduced.flatten(2).transpose(1, 2)


def is_refreshed(step: int, config: GramConfig) -> bool:
    """Whether the teacher becomes the anchor after a step, 0 for the first."""
    since = step + 1 - config.start_step
    return (
        bool(config.refresh_steps)
        and since > 0
        and since % config.refresh_steps == 0
        and since <= config.max_refreshes * config.refresh_steps
    )


@torch.no_grad()
def refresh(anchor: Backbone, teacher: Sequence[Tensor]) -> None:
    """Copy the teacher's backbone into the anchor; every worker must call it.

    Args:
        anchor: changed in place.
        teacher: parameters of its backbone in the same order, which may be sharded.
    """
    for own, other in zip(anchor.parameters(), teacher, strict=True):
        own.copy_(full_tensor(other))
