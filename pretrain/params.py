"""Learning rate and weight decay of each parameter."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from pretrain.config import OptimConfig
from pretrain.schedule import StepSettings

__all__ = ["Multipliers", "multipliers", "param_groups", "set_schedule"]

_EMBEDDINGS = ("pos_embed", "patch_embed", "mask_token", "cls_token", "reg_token")


class Multipliers(NamedTuple):
    """How one parameter's settings differ from the run's."""

    lr: float
    weight_decay: float
    is_last_layer: bool
    is_backbone: bool


def multipliers(name: str, *, depth: int, config: OptimConfig) -> Multipliers:
    """Multipliers of a parameter of `Network`, as DINOv2 has them (dinov2/utils/param_groups.py).

    Layer decay counts from the end: heads and final norm 1, the last block decay, the first block decay^depth, embeddings
    decay^(depth + 1). Biases, norms and LayerScale have no weight decay; class, mask and register tokens, the position embedding and the
    prototypes' lengths do.

    Args:
        name: as `named_parameters` of the network gives it.
        depth: number of blocks.
        config: decay and the patch embedding's extra factor.
    """
    in_backbone = name.startswith("backbone.") or name == "mask_token"
    lr = 1.0
    if in_backbone:
        layer = depth + 1
        if any(part in name for part in _EMBEDDINGS):
            layer = 0
        elif ".blocks." in name:
            layer = int(name.split(".blocks.")[1].split(".")[0]) + 1
        lr = config.layer_decay ** (depth + 1 - layer)
    if "patch_embed" in name:
        lr *= config.patch_embed_lr_mult
    undecayed = name.endswith("bias") or "norm" in name or "gamma" in name
    return Multipliers(lr, 0.0 if undecayed else 1.0, "last_layer" in name, in_backbone)


def param_groups(network: nn.Module, *, depth: int, config: OptimConfig) -> list[dict[str, Any]]:
    """Optimiser groups, one for each distinct set of multipliers, in order of first appearance."""
    groups: dict[Multipliers, dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        key = multipliers(name, depth=depth, config=config)
        groups.setdefault(key, {"params": [], "multipliers": key})["params"].append(parameter)
    return list(groups.values())


def set_schedule(groups: list[dict[str, Any]], settings: StepSettings) -> None:
    """Set each group's learning rate and weight decay for a step."""
    for group in groups:
        mult: Multipliers = group["multipliers"]
        own = settings.backbone_lr if mult.is_backbone else settings.last_layer_lr if mult.is_last_layer else settings.lr
        group["lr"] = own * mult.lr
        group["weight_decay"] = settings.weight_decay * mult.weight_decay
