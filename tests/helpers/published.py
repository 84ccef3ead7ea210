"""Tiny vision transformers with random weights, in the layouts that their publishers use."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor

SIZES: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2}


def tiny(architecture: str, *, img_size: int, seed: int = 0, **changed: Any) -> torch.nn.Module:
    """A timm model of a public architecture with every parameter drawn, as trained weights are nowhere constant."""
    model = timm.create_model(architecture, num_classes=0, img_size=img_size, dynamic_img_size=True, **(SIZES | changed))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng) * (0.3 if parameter.ndim > 1 else 0.5))
    return model.eval()


def dinov2_layout(model: torch.nn.Module, *, chunks: bool = False) -> dict[str, Tensor]:
    """The state dict that facebookresearch/dinov2 has for such a model, with a position for the class token and a mask token."""
    state = dict(model.state_dict())
    dim = state["cls_token"].shape[-1]
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
        position = torch.linspace(-1, 1, dim).view(1, 1, dim)  # timm has it within the class token
        state["pos_embed"] = torch.cat((position, state["pos_embed"]), dim=1)
        state["cls_token"] = state["cls_token"] - position
    state["mask_token"] = torch.linspace(0, 1, dim).view(1, dim)
    if chunks:  # two blocks in two chunks
        state = {name.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): tensor for name, tensor in state.items()}
    return state


def dinov3_layout(model: torch.nn.Module) -> dict[str, Tensor]:
    """The state dict that facebookresearch/dinov3 has for such a model: keys have a bias that a mask takes away."""
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("q_bias"):
            values = model.state_dict()[name.replace("q_bias", "v_bias")]
            state[name.replace("q_bias", "qkv.bias")] = torch.cat((tensor, torch.ones_like(tensor), values))
            mask = torch.cat((torch.ones_like(tensor), torch.zeros_like(tensor), torch.ones_like(tensor)))
            state[name.replace("q_bias", "qkv.bias_mask")] = mask
        elif not name.endswith("v_bias"):
            renamed = name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma").replace("reg_token", "storage_tokens")
            state[renamed] = tensor
    state["mask_token"] = torch.zeros(1, model.state_dict()["cls_token"].shape[-1])
    state["rope_embed.periods"] = (100.0 ** torch.linspace(0, 1, 5)[:4]).bfloat16()  # heads of 16 channels
    return state
