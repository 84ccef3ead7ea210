"""The deterministic filler of the reference checks: values by formula, so that figures of other implementations can be met."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from pretrain.video.model import DividedSpaceTimeViT, SpaceTimeBlock, SpaceTimeSizes

_BLOCK = "norm1 attn.qkv attn.proj temporal_norm1 temporal_attn.qkv temporal_attn.proj temporal_fc norm2 mlp.fc1 mlp.fc2"


def det(shape: tuple[int, ...], a: float, *, s: float = 1.0) -> Tensor:
    """s * sin(a i + 0.11) * cos(0.013 i) over the elements in order."""
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    return torch.from_numpy((s * np.sin(a * i + 0.11) * np.cos(0.013 * i)).astype(np.float32).reshape(shape))


@torch.no_grad()
def fill(parameters: Iterable[nn.Parameter], *, s: float, first: int = 0) -> None:
    for number, parameter in enumerate(parameters, first):
        parameter.copy_(det(tuple(parameter.shape), 0.3 + 0.05 * number, s=s))


def block_parameters(block: SpaceTimeBlock) -> list[nn.Parameter]:
    named = dict(block.named_parameters())
    return [named[f"{part}.{kind}"] for part in _BLOCK.split() for kind in ("weight", "bias")]


def network_parameters(model: DividedSpaceTimeViT) -> list[nn.Parameter]:
    first = [model.cls_token, model.pos_embed, model.time_embed, *model.patch_embed.proj.parameters()]
    blocks = [parameter for block in model.blocks for parameter in block_parameters(cast(SpaceTimeBlock, block))]
    return [*first, *blocks, *model.norm.parameters()]


def small_network(*, image_size: int = 32, num_frames: int = 4, s: float | None = 0.5) -> DividedSpaceTimeViT:
    """Of the checks: width 12, two blocks, two heads."""
    model = DividedSpaceTimeViT(SpaceTimeSizes(embed_dim=12, depth=2, num_heads=2, image_size=image_size, num_frames=num_frames)).eval()
    if s is not None:
        fill(network_parameters(model), s=s)
    return model


def figures(values: Tensor) -> list[float]:
    """Sum, sum of squares and the first four."""
    flat = values.detach().double().flatten()
    return [float(flat.sum()), float(flat.square().sum()), *flat[:4].tolist()]
