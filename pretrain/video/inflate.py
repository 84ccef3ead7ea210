"""Weights of an image network, or of a video one, for the video backbone: each tensor is loaded, inflated or fresh, or all is refused.

Inflation (Bertasius et al. 2021): the attention over time begins as a copy of that over space. `temporal_fc` and the time embedding stay
at zero, so that at first a clip of equal frames gives what the image network gives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from timm.layers.patch_embed import resample_patch_embed
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from pretrain.video.model import DividedSpaceTimeViT, SpaceTimeSizes, nearest_indices

__all__ = ["Inflated", "inflate", "sizes_of"]

_COPIED = {"temporal_norm1": "norm1", "temporal_attn": "attn"}
"""By part of a block, the part that it is a copy of."""
_FRESH = re.compile(r"time_embed|blocks\.\d+\.temporal_fc\.(weight|bias)")
_BLOCK = re.compile(r"blocks\.(\d+)\.")
_GAMMA = re.compile(r"gamma_(\d)$")
_HEAD_DIM = 64
"""channels of an attention head in every public vision transformer of these sizes"""
_MOST_NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Inflated:
    """Values by the names of `DividedSpaceTimeViT`; what is not there is fresh and begins as the network makes it."""

    tensors: dict[str, Tensor]
    inflated: tuple[str, ...]
    """names of copies over time"""
    resampled: tuple[str, ...]
    """what was done to positions and patch embedding, for a person"""
    fresh: tuple[str, ...]
    """names without a value"""

    @property
    def num_loaded(self) -> int:
        """Tensors taken as they were, but for resampling."""
        return len(self.tensors) - len(self.inflated)

    def sentence(self) -> str:
        """The counts, for a person."""
        done = f" ({'; '.join(self.resampled)})" if self.resampled else ""
        return f"{self.num_loaded} tensors loaded{done}, {len(self.inflated)} inflated over time, {len(self.fresh)} fresh"


def inflate(given: Mapping[str, Tensor], sizes: SpaceTimeSizes, *, told: str) -> Inflated:
    """Give the tensors of a video backbone their values.

    Args:
        given: tensors of a backbone in timm's or DINOv2's names, as `pretrain.init_layout.read_published` gives them; or of a video one.
        sizes: of the network.
        told: what a person calls them, for messages.

    Raises:
        ValueError: a tensor is missing, has another shape, or has no place; the message names it.
    """
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in DividedSpaceTimeViT(sizes).state_dict().items()}
    found = _named(given, told)
    resampled = _resample(found, sizes)
    if unknown := sorted(found.keys() - wanted.keys()):
        raise ValueError(
            f"--init {told} has {_some(unknown)}, for which a video backbone of these sizes has no place, and to ignore it would change "
            "its features; " + _hint(unknown)
        )
    inflated = []
    for name in wanted.keys() - found.keys():
        part, _, copied = _source(name)
        if part and copied in found:
            found[name] = found[copied].clone()
            inflated.append(name)
    lacking = sorted(wanted.keys() - found.keys())
    registers = {"reg_token"} if "reg_token" in lacking else set()
    if refused := [name for name in lacking if not _FRESH.fullmatch(name) and name not in registers]:
        raise ValueError(f"--init {told} lacks {_some(refused)} of the video backbone; " + _hint(refused))
    wrong = [
        f"{name} is {_shape(found[name].shape)} there and {_shape(shape)} in the model"
        for name, shape in wanted.items()
        if name in found and tuple(found[name].shape) != shape
    ]
    if wrong:
        raise ValueError(
            f"--init {told} does not fit: {'; '.join(wrong[:2])}{f', and {len(wrong) - 2} more' if len(wrong) > 2 else ''}; give "
            "model.embed_dim, model.depth, model.num_heads and model.patch_size as they are there"
        )
    return Inflated(
        tensors={name: found[name].float().contiguous() for name in wanted if name in found},
        inflated=tuple(sorted(inflated)),
        resampled=tuple(resampled),
        fresh=tuple(lacking),
    )


def sizes_of(given: Mapping[str, Tensor], like: SpaceTimeSizes, *, told: str, num_heads: int | None = None) -> SpaceTimeSizes:
    """The sizes of a video backbone that such tensors fill, with image size, frames and resampling of another.

    Args:
        given: as of `inflate`.
        like: gives what the tensors do not decide; its image size is rounded to whole patches.
        told: what a person calls them.
        num_heads: of attention; heads of 64 channels where not given.

    Raises:
        ValueError: they are not those of a vision transformer with a class token.
    """
    found = _named(given, told)
    try:
        dim, _, patch, _ = found["patch_embed.proj.weight"].shape
        hidden = found["blocks.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError):
        raise ValueError(f"--init {told} has no patch embedding and blocks of a vision transformer; give the file of one") from None
    registers = found.get("reg_token")
    return SpaceTimeSizes(
        embed_dim=dim,
        depth=1 + max(int(match[1]) for match in map(_BLOCK.match, found) if match),
        num_heads=num_heads or (max(1, dim // _HEAD_DIM) if dim % _HEAD_DIM == 0 else like.num_heads),
        mlp_ratio=hidden / dim,
        patch_size=patch,
        image_size=max(1, round(like.image_size / patch)) * patch,
        num_frames=like.num_frames,
        num_registers=0 if registers is None else registers.shape[1],
        layer_scale="blocks.0.ls1.gamma" in found,
        resampling=like.resampling,
    )


def _named(given: Mapping[str, Tensor], told: str) -> dict[str, Tensor]:
    """Names and meanings as the video backbone has them: LayerScale of timm, and a position of the class token."""
    found = {_GAMMA.sub(r"ls\1.gamma", name): tensor for name, tensor in given.items()}
    if "pos_embed" not in found:
        raise ValueError(
            f"--init {told} has no pos_embed: its positions are rotary or relative, which a video backbone cannot take over; "
            "give a network with learned positions, such as DINOv2's"
        )
    positions = found["pos_embed"]
    if positions.ndim == 3 and _side(positions.shape[1] - 1) is None and _side(positions.shape[1]) is not None:
        found["pos_embed"] = torch.cat((torch.zeros_like(positions[:, :1]), positions), dim=1)  # of patches alone, as timm's with registers
    gate, after = found.get("blocks.0.mlp.fc1.weight"), found.get("blocks.0.mlp.fc2.weight")
    if gate is not None and after is not None and gate.shape[0] != after.shape[1]:
        raise ValueError(f"--init {told} has gated MLPs (SwiGLU), which the video backbone has not; give a network with plain ones")
    return found


def _resample(found: dict[str, Tensor], sizes: SpaceTimeSizes) -> list[str]:
    """Bring positions, time embedding and patch embedding to the sizes, in place; says what was done."""
    done = []
    patch = found.get("patch_embed.proj.weight")
    if patch is not None and patch.ndim == 4 and patch.shape[-1] != sizes.patch_size:
        found["patch_embed.proj.weight"] = resample_patch_embed(patch.float(), [sizes.patch_size] * 2)
        done.append(f"patch embedding {_shape(patch.shape[-2:])} -> {sizes.patch_size}x{sizes.patch_size}")
    positions = found["pos_embed"]
    side = _side(positions.shape[1] - 1) if positions.ndim == 3 else None
    if side is not None and side != sizes.grid:
        resized = resample_abs_pos_embed(positions.float(), new_size=[sizes.grid] * 2, old_size=[side, side], num_prefix_tokens=1)
        found["pos_embed"] = resized
        done.append(f"pos_embed {side}x{side} -> {sizes.grid}x{sizes.grid}")
    times = found.get("time_embed")
    if times is not None and times.ndim == 3 and times.shape[1] != sizes.num_frames:
        found["time_embed"] = times[:, nearest_indices(times.shape[1], sizes.num_frames)]
        done.append(f"time_embed {times.shape[1]} -> {sizes.num_frames}")
    return done


def _source(name: str) -> tuple[str, str, str]:
    """The part of a block that is a copy over time, the one it is of, and the name of the tensor there; empty if it is none."""
    for part, original in _COPIED.items():
        if f".{part}." in name:
            return part, original, name.replace(f".{part}.", f".{original}.")
    return "", "", ""


def _side(num_patches: int) -> int | None:
    """Side of a square grid."""
    side = math.isqrt(max(num_patches, 0))
    return side if side and side * side == num_patches else None


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")


def _hint(names: list[str]) -> str:
    if any("gamma" in name for name in names):
        return "LayerScale is there or not by model.layer_scale_init, 0 for none"
    if "reg_token" in names:
        return "give model.num_registers"
    return "give a plain vision transformer with a class token, such as DINOv2's, or a video backbone"
