"""A timm backbone under the names, shapes and conventions of DINOv2's own code (facebookresearch/dinov2, hub files).

The two differ in the position embedding of models with registers: the reference's has a row for the class token, timm's has none. A row
of zeros stands for it, which is exact. SwiGLU's matrices have other names. The reference has a mask token, timm has none.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from timm.layers.mlp import GluMlp
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from warehouse.store import flush_files

__all__ = ["LayoutError", "reference_arguments", "reference_names", "reference_state", "write_reference"]

_HUB_SIZES = {(384, 12, 6): "vit_small", (768, 12, 12): "vit_base", (1024, 24, 16): "vit_large", (1536, 40, 24): "vit_giant2"}
"""Functions of the reference by width, depth and heads."""


class LayoutError(ValueError):
    """A network that the reference's code cannot compute; the message says what differs."""


def reference_state(backbone: VisionTransformer, mask_token: Tensor | None) -> dict[str, Tensor]:
    """The weights as the reference's `DinoVisionTransformer` names them (block_chunks 0).

    Args:
        backbone: with a class token, and with or without registers.
        mask_token: (1, dim); zeros if not given, as in the public files of S, B and L.

    Raises:
        LayoutError: the network has a part that the reference lacks, or computes something else.
    """
    _check_computation(backbone)
    state = {name: tensor.detach().cpu() for name, tensor in backbone.state_dict().items()}
    dim = int(backbone.embed_dim)
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
    if backbone.no_embed_class:
        state["pos_embed"] = torch.cat((torch.zeros(1, 1, dim), state["pos_embed"]), dim=1)
    state["mask_token"] = torch.zeros(1, dim) if mask_token is None else mask_token.detach().cpu().reshape(1, dim)
    if _is_swiglu(backbone):
        state = {name.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3."): tensor for name, tensor in state.items()}
    expected = reference_names(
        depth=len(backbone.blocks),
        has_registers="register_tokens" in state,
        has_layer_scale=_has_layer_scale(backbone),
        is_swiglu=_is_swiglu(backbone),
    )
    if wrong := sorted(state.keys() ^ expected):
        raise LayoutError(
            f"the backbone has weights that DINOv2's layout lacks, or lacks some ({', '.join(wrong[:4])}); export it for timm"
        )
    return {name: state[name].contiguous() for name in sorted(state)}


def reference_names(*, depth: int, has_registers: bool, has_layer_scale: bool, is_swiglu: bool) -> set[str]:
    """Every name of the reference's state dict."""
    single = {"cls_token", "pos_embed", "mask_token"} | ({"register_tokens"} if has_registers else set())
    hidden, out = ("w12", "w3") if is_swiglu else ("fc1", "fc2")
    layers = ["norm1", "attn.qkv", "attn.proj", "norm2", f"mlp.{hidden}", f"mlp.{out}"]
    pairs = ["patch_embed.proj", "norm", *(f"blocks.{block}.{layer}" for block in range(depth) for layer in layers)]
    scales = {f"blocks.{block}.{scale}.gamma" for block in range(depth) for scale in ("ls1", "ls2")} if has_layer_scale else set()
    return single | scales | {f"{pair}.{kind}" for pair in pairs for kind in ("weight", "bias")}


def reference_arguments(backbone: VisionTransformer) -> dict[str, Any]:
    """Arguments of the reference's `DinoVisionTransformer` for these weights, and the name of its function for the size, if it has one.

    The number of heads cannot be read from the weights. The two interpolation settings are those by which the reference resamples the
    position embedding as timm does.
    """
    block = _first_block(backbone)
    dim, depth, num_heads = int(backbone.embed_dim), len(backbone.blocks), int(block.attn.num_heads)
    hidden = int(block.mlp.fc1.out_features)
    return {
        "function": _HUB_SIZES.get((dim, depth, num_heads)),
        "img_size": int(backbone.patch_embed.img_size[0]),
        "patch_size": int(backbone.patch_embed.patch_size[0]),
        "embed_dim": dim,
        "depth": depth,
        "num_heads": num_heads,
        "mlp_ratio": 4 if _is_swiglu(backbone) else hidden / dim,  # the reference makes SwiGLU narrower by itself
        "ffn_layer": "swiglufused" if _is_swiglu(backbone) else "mlp",
        "init_values": 1.0 if _has_layer_scale(backbone) else None,
        "block_chunks": 0,
        "num_register_tokens": int(backbone.num_reg_tokens),
        "interpolate_antialias": True,
        "interpolate_offset": 0.0,
    }


def write_reference(backbone: VisionTransformer, mask_token: Tensor | None, path: Path) -> None:
    """Write the weights as a .pth that `torch.load(path, weights_only=True)` and the reference's own scripts read, and compare.

    What was written is read by timm's converter for public DINOv2 files; it has to give the same weights to the bit.

    Raises:
        LayoutError: the reference cannot hold this network.
    """
    state = reference_state(backbone, mask_token)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder, path.name)
        torch.save(state, written)
        read: dict[str, Tensor] = torch.load(written, weights_only=True, map_location="cpu", mmap=True)
        back, own = checkpoint_filter_fn(read, backbone), backbone.state_dict()
        if back.keys() != own.keys() or not all(torch.equal(back[name], own[name].cpu()) for name in own):
            raise LayoutError("timm does not read DINOv2's layout back as the same weights; export for timm, and report this")
        written.rename(path)
    flush_files([path])


def _check_computation(backbone: VisionTransformer) -> None:
    """Refuse what no name of a weight shows."""
    if backbone.cls_token is None or backbone.pos_embed is None:
        raise LayoutError("the backbone has no class token or no position embedding, which DINOv2 has; export it for timm")
    if bool(backbone.num_reg_tokens) != bool(backbone.no_embed_class):
        raise LayoutError("the backbone's position embedding is for other tokens than in timm's DINOv2 models; export it for timm")
    if eps := {layer.eps for layer in backbone.modules() if isinstance(layer, nn.LayerNorm)} - {1e-6}:
        raise LayoutError(f"the backbone's layer norms have eps {sorted(eps)[0]:g} and DINOv2's have 1e-06; export it for timm")
    mlp = _first_block(backbone).mlp
    if _is_swiglu(backbone) and mlp.gate_last:
        raise LayoutError("the backbone's gate is the second half of its hidden layer and DINOv2's the first; export it for timm")
    wanted: type[nn.Module] = nn.SiLU if _is_swiglu(backbone) else nn.GELU
    if not isinstance(mlp.act, wanted) or getattr(mlp.act, "approximate", "none") != "none":
        raise LayoutError(f"the backbone's activation is {type(mlp.act).__name__} and DINOv2's is {wanted.__name__}; export it for timm")


def _first_block(backbone: VisionTransformer) -> Any:
    return backbone.blocks[0]


def _is_swiglu(backbone: VisionTransformer) -> bool:
    return isinstance(_first_block(backbone).mlp, GluMlp)


def _has_layer_scale(backbone: VisionTransformer) -> bool:
    return not isinstance(_first_block(backbone).ls1, nn.Identity)
