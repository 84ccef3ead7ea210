"""Files of weights as others publish them, in the names of timm.

    reference DINOv2, DINOv3    blocks.0.ls1.gamma, register_tokens or storage_tokens, mlp.w12; with blocks in chunks blocks.0.0...
    its teacher's checkpoint    {"teacher": {"backbone.blocks...", "dino_head...", "ibot_head..."}}
    timm, plain ViT             blocks.0..., reg_token, head.weight

Only tensors are read: safetensors, and torch.load with weights_only.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from timm.models import clean_state_dict
from torch import Tensor

__all__ = ["OUR_HEADS", "PublishedWeights", "read_published", "read_tensors"]

OUR_HEADS = ("dino_head", "ibot_head")
"""Pretraining heads of the reference and of ours, which have the same tensors."""
_OTHER_HEADS = ("head.", "head_dist.", "heads.", "projectors.", "decoder_", "lm_head.", "pre_logits.")
"""Of classifiers, distillation and other pretraining."""
_WRAPPERS = ("teacher", "model_ema", "state_dict_ema", "state_dict", "model")
_CHUNKED = re.compile(r"^blocks\.\d+\.(\d+\.)")
_RENAMED = {
    "register_tokens": "reg_token",
    "storage_tokens": "reg_token",
}
_IN_BLOCK = {".mlp.w12.": ".mlp.fc1.", ".mlp.w1.": ".mlp.fc1_g.", ".mlp.w2.": ".mlp.fc1_x.", ".mlp.w3.": ".mlp.fc2."}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """The tensors of a file, sorted by what they are for."""

    backbone: dict[str, Tensor]
    """in timm's names, but for differences that depend on the model: LayerScale, query and value biases, position of the class token"""
    mask_token: Tensor | None
    heads: dict[str, Tensor]
    """tensors of OUR_HEADS"""
    left_out: tuple[str, ...]
    """other heads and training state, for a person"""


def read_published(path: Path, *, told: str) -> PublishedWeights:
    """Read a file of weights.

    Args:
        path: of the file.
        told: what a person calls it, for messages.

    Raises:
        ValueError: it is damaged, holds more than tensors and plain values, or no tensors of a vision transformer.
    """
    tensors, left_out = read_tensors(path, told=told)
    if not any(name.startswith("blocks.") for name in tensors):
        some = ", ".join(sorted(tensors)[:3])
        raise ValueError(
            f"--init {told} has no blocks of a vision transformer, but {some}; give the model's timm export or its publisher's own file"
        )
    heads = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in OUR_HEADS}
    foreign = [name for name in tensors if name.startswith(_OTHER_HEADS)]
    left_out += _counted(foreign)
    rest = {name: tensor for name, tensor in tensors.items() if name not in heads and name not in foreign}
    backbone = {_in_timm(name): tensor for name, tensor in rest.items()}
    if len(backbone) < len(rest):
        raise ValueError(f"--init {told} has some tensors twice, in chunks of blocks and without; give one of the two layouts")
    for name, tensor in (backbone | heads).items():
        if not bool(torch.isfinite(tensor).all()) and not name.endswith("bias_mask"):
            raise ValueError(f"{name} of --init {told} has values that are not finite; the file is damaged, fetch it again")
    mask_token = backbone.pop("mask_token", None)
    if mask_token is not None and any(name.startswith("decoder_") for name in foreign):
        left_out, mask_token = [*left_out, "mask_token of the decoder"], None
    return PublishedWeights(backbone=backbone, mask_token=mask_token, heads=heads, left_out=tuple(left_out))


def read_tensors(path: Path, *, told: str) -> tuple[dict[str, Tensor], list[str]]:
    """The named tensors of a file of a backbone, without the wrappers and prefixes around them, and the names of what stands beside them.

    Raises:
        ValueError: as `read_published`.
    """
    tensors, left_out = _unwrapped(_read(path, told), told)
    tensors = clean_state_dict(tensors)
    if any(name.startswith("backbone.") for name in tensors):
        tensors = {name.removeprefix("backbone."): tensor for name, tensor in tensors.items()}
    return tensors, left_out


def _read(path: Path, told: str) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"--init {told} holds more than tensors, or is no file of torch ({str(error).splitlines()[0]}); such files can run code, "
            "so save its state dict alone, best as safetensors"
        ) from None
    except (RuntimeError, EOFError, safetensors.SafetensorError) as error:
        raise ValueError(f"--init {told} is not a whole file of weights ({str(error).splitlines()[0]}); fetch it again") from None
    if not isinstance(loaded, Mapping):
        raise ValueError(f"--init {told} holds a {type(loaded).__name__} in place of named tensors; save its state dict")
    return loaded


def _unwrapped(loaded: Mapping[str, Any], told: str) -> tuple[dict[str, Tensor], list[str]]:
    """The named tensors within a checkpoint, the teacher's before others, and what stands beside them."""
    left_out: list[str] = []
    while not any(isinstance(value, Tensor) for value in loaded.values()):
        inner = next((name for name in _WRAPPERS if isinstance(loaded.get(name), Mapping)), None)
        if inner is None:
            raise ValueError(
                f"--init {told} has no tensors under its names {', '.join(map(str, list(loaded)[:5]))}; save its state dict alone"
            )
        left_out += sorted(str(name) for name in loaded if name != inner)
        loaded = loaded[inner]
    others = sorted(str(name) for name, value in loaded.items() if not isinstance(value, Tensor))
    return {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}, left_out + others


def _in_timm(name: str) -> str:
    name = _RENAMED.get(name, _CHUNKED.sub(r"blocks.\1", name))
    for theirs, timms in _IN_BLOCK.items():
        name = name.replace(theirs, timms)
    return name


def _counted(names: list[str]) -> list[str]:
    """Names by their first part, as `head (2 tensors)`."""
    parts = sorted({name.split(".")[0] for name in names})
    counts = {part: sum(name.split(".")[0] == part for name in names) for part in parts}
    return [f"{part} ({count} tensor{'s' if count > 1 else ''})" for part, count in counts.items()]
