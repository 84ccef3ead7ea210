"""Limits of gradient norms: of the backbone and each head, of every tensor by itself, or of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from pretrain.config import OptimConfig
from pretrain.parallel import full_tensor

__all__ = ["clip_gradients", "drop_last_layer_gradients"]


def clip_gradients(parts: Mapping[str, Sequence[Tensor]], config: OptimConfig) -> dict[str, Tensor]:
    """Scale gradients down to the limit, in place; every worker calls it.

    Args:
        parts: parameters of the backbone and of each head.
        config: the limit, and what it is of.

    Returns:
        The norms before, by part; `all` if they are clipped together.
    """
    limit = config.clip_grad_norm or torch.inf
    if config.clip_over == "part":
        return {name: full_tensor(clip_grad_norm_(parameters, limit)) for name, parameters in parts.items()}
    if config.clip_over == "all":
        together = [parameter for parameters in parts.values() for parameter in parameters]
        return {"all": full_tensor(clip_grad_norm_(together, limit))}
    norms = {}
    for name, parameters in parts.items():
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norms[name] = full_tensor(get_total_norm(gradients))
        for parameter in parameters:
            clip_grad_norm_([parameter], limit)
    return norms


def drop_last_layer_gradients(network: nn.Module) -> None:
    """Take the gradients of the heads' last layers away, so that an optimiser leaves these and its averages of them as they are."""
    for name, parameter in network.named_parameters():
        if "last_layer" in name:
            parameter.grad = None
