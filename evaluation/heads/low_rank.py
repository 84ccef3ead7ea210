"""Low-rank adapters (LoRA, Hu et al. 2022) in a backbone, by the library peft."""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch
from torch import nn

from evaluation.heads.names import NO_PEFT, HeadError

__all__ = ["adapted_layers", "adapters", "add_adapters"]

_ATTENTION = re.compile(r"(^|\.)(temporal_)?attn\.(qkv|q_proj|k_proj|v_proj|proj)$")
_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"


def add_adapters(module: Any, *, rank: int, seed: int) -> None:
    """Freeze a backbone and give its layers adapters that are trained; they start as nothing, so that it computes what it did.

    Args:
        module: changed in place.
        rank: of the adapters; their product is added as it is, a scale of 1.
        seed: of their first values.

    Raises:
        HeadError: peft is not installed, or no layer can have an adapter.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise HeadError(NO_PEFT) from error
    names = adapted_layers(module)
    if not names:
        raise HeadError("the backbone has no attention and no plain convolutions, which LoRA adapts; give --heads finetune")
    module.requires_grad_(False)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns of uses that are not these
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=names), module)


def adapted_layers(module: nn.Module) -> list[str]:
    """The layers that get adapters: the attention's projections of a transformer, the ungrouped convolutions of a CNN."""
    layers = dict(module.named_modules())
    found = [name for name, layer in layers.items() if _ATTENTION.search(name) and isinstance(layer, nn.Linear)]
    # subclasses that pad by themselves are left out: an adapter would not pad as they do
    return found or [name for name, layer in layers.items() if type(layer) is nn.Conv2d and layer.groups == 1]


def adapters(module: nn.Module) -> dict[str, torch.Tensor]:
    """The adapters of `add_adapters`, as LAYER.lora_A and LAYER.lora_B on the CPU."""
    found = {}
    for name, value in module.state_dict().items():
        for ending in (_DOWN, _UP):
            if name.endswith(ending):
                layer = name.removesuffix(ending)
                found[f"{layer}{ending[:7]}"] = value.detach().cpu().clone().contiguous()
    return found
