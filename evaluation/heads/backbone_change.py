"""What training did to a backbone: all its weights, or low-rank adapters that are added to some of them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

__all__ = ["BackboneChange", "ChangeKind", "changed"]

ChangeKind = Literal["full", "lora"]

_DOWN, _UP = ".lora_A", ".lora_B"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneChange:
    """The weights that differ from those of the backbone that training started from."""

    kind: ChangeKind
    scale: float
    """of the product of two adapters; 1 where there are none"""
    tensors: Mapping[str, torch.Tensor]
    """full: the whole state; lora: LAYER.lora_A [r, in, ...] and LAYER.lora_B [out, r, ...] of each adapted layer, on the CPU"""


def changed(module: Any, change: BackboneChange) -> Any:
    """A copy of the backbone with the change in it; adapters are added to the weights, so that it runs as fast as before.

    Args:
        module: the backbone that training started from; it stays as it is.
        change: what training did to it.

    Raises:
        ValueError: the change is of another architecture.
    """
    copied: nn.Module = deepcopy(module)
    if change.kind == "full":
        try:
            copied.load_state_dict(dict(change.tensors), strict=True)
        except RuntimeError as error:
            raise ValueError(f"the stored weights do not fit the backbone ({error}); evaluate again to make them") from error
        return copied
    layers = dict(copied.named_modules())
    for name in (tensor.removesuffix(_DOWN) for tensor in change.tensors if tensor.endswith(_DOWN)):
        weight = getattr(layers.get(name), "weight", None)
        if weight is None:
            raise ValueError(f"the backbone has no layer {name!r}, which the stored adapters change; give the backbone that was evaluated")
        down, up = (change.tensors[name + end].to(weight) for end in (_DOWN, _UP))
        with torch.no_grad():
            weight += change.scale * (up.flatten(1) @ down.flatten(1)).view_as(weight)
    return copied
