"""Initial weights in the network of a run: each tensor is loaded, resampled or fresh, and what would be ignored is refused."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from timm.layers.patch_embed import resample_patch_embed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from timm.models.eva import Eva
from torch import Tensor

from pretrain.config import PretrainConfig
from pretrain.init_layout import OUR_HEADS, PublishedWeights, read_published
from pretrain.init_source import InitSource
from pretrain.model import Backbone, Network

__all__ = ["Fitted", "InitReport", "fit_heads", "fit_init", "fit_weights"]

_MOST_NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class InitReport:
    """What became of each tensor of the network."""

    told: str
    files: dict[str, str]
    """SHA-256 by file name"""
    loaded: int
    """tensors"""
    resampled: tuple[str, ...]
    fresh: tuple[str, ...]
    """names of tensors with random or constant values"""
    left_out: tuple[str, ...]
    """tensors of the file: heads and training state"""

    def sentence(self) -> str:
        """One line for a person."""
        parts = [f"{self.loaded} tensors loaded", f"{len(self.resampled)} resampled", f"{len(self.fresh)} fresh"]
        groups = sorted({name.split(".")[0] if name.startswith(OUR_HEADS) else name.removeprefix("backbone.") for name in self.fresh})
        for place, names in ((1, self.resampled), (2, groups)):
            if names:
                parts[place] += f" ({', '.join(names)})"
        if self.left_out:
            parts.append(f"left out: {', '.join(self.left_out)}")
        return f"--init {self.told}: {', '.join(parts)}"

    def record(self) -> dict[str, Any]:
        """Plain values for init.json."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Initial values by the names of `Network`, and their report."""

    tensors: dict[str, Tensor]
    report: InitReport


def fit_init(source: InitSource, config: PretrainConfig) -> Fitted:
    """Read the weights of a source into the network of a run.

    Raises:
        ValueError: as `read_published` and `fit_weights`.
    """
    if config.video is not None:
        from pretrain.video.init_weights import fit_clip_init  # which stands on this file

        return fit_clip_init(source, config)
    weights = read_published(source.weights, told=source.told)
    heads = {} if source.heads is None else _heads_of_run(source)
    return fit_weights(weights, config, told=source.told, heads=heads, files=source.sha256())


def _heads_of_run(source: InitSource) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    assert source.heads is not None
    return load_file(source.heads)


def fit_weights(
    weights: PublishedWeights, config: PretrainConfig, *, told: str, heads: dict[str, Tensor] | None = None, files: dict[str, str]
) -> Fitted:
    """Give each tensor of a network its initial value.

    Position embeddings of another grid and patch embeddings of another size are resampled as timm does it. Fresh are only the mask token,
    registers that the model has and the weights have not, and heads that are missing or of another shape.

    Args:
        weights: of a file.
        config: of the run.
        told: what a person calls them.
        heads: heads and mask token of a checkpoint of ours, in place of the file's.
        files: their hashes.

    Raises:
        ValueError: a tensor is missing, has another shape, or would be ignored; the message names it.
    """
    with torch.device("meta"):
        network = Network(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found, resampled = _fit_backbone(weights.backbone, network.backbone, config.model.architecture, told)
    tensors = {f"backbone.{name}": tensor for name, tensor in found.items()}
    mask_token = (heads or {}).get("mask_token", weights.mask_token)
    if mask_token is not None:
        if mask_token.numel() != network.mask_token.numel():
            raise ValueError(f"mask_token of --init {told} has {mask_token.numel()} values and the model has {network.mask_token.numel()}")
        tensors["mask_token"] = mask_token.view(1, -1).float()
    taken, left_out = fit_heads(weights.heads | (heads or {}), wanted)
    tensors |= taken
    fresh = tuple(sorted(wanted.keys() - tensors.keys()))
    report = InitReport(
        told=told,
        files=files,
        loaded=len(tensors) - len(resampled),
        resampled=tuple(resampled),
        fresh=fresh,
        left_out=(*weights.left_out, *left_out),
    )
    return Fitted(tensors={name: tensor.contiguous() for name, tensor in tensors.items()}, report=report)


def fit_heads(heads: dict[str, Tensor], wanted: dict[str, tuple[int, ...]]) -> tuple[dict[str, Tensor], list[str]]:
    """Heads all of whose tensors agree with the network's, and the names of the others."""
    taken: dict[str, Tensor] = {}
    left_out = []
    for head in OUR_HEADS:
        given = {name: tensor for name, tensor in heads.items() if name.split(".")[0] == head}
        ours = {name: shape for name, shape in wanted.items() if name.split(".")[0] == head}
        if given and {name: tuple(tensor.shape) for name, tensor in given.items()} == ours:
            taken |= {name: tensor.float() for name, tensor in given.items()}
        elif given:
            left_out.append(f"{head} of other sizes" if ours else head)
    return taken, left_out


def _fit_backbone(given: dict[str, Tensor], target: Backbone, architecture: str, told: str) -> tuple[dict[str, Tensor], list[str]]:
    wanted = {name: tuple(tensor.shape) for name, tensor in target.state_dict().items()}
    given = _as_target(given, target, wanted, told)
    lacking = sorted(wanted.keys() - given.keys() - {"reg_token"})
    if unknown := sorted(given.keys() - wanted.keys()):
        raise ValueError(
            f"--init {told} has {_some(unknown)}, for which {architecture} has no place, and to ignore it would change its features; "
            "name the architecture that has it with model.architecture" + _hint(unknown)
        )
    if lacking:
        raise ValueError(
            f"--init {told} lacks {_some(lacking)} of {architecture}; name the one it is of with model.architecture" + _hint(lacking)
        )
    found, resampled, wrong = {}, [], []
    for name, tensor in given.items():
        value, how = _resampled(name, tensor, target)
        if tuple(value.shape) != wanted[name]:
            wrong.append(f"{name} is {_shape(tensor.shape)} there and {_shape(wanted[name])} in the model")
        resampled += [how] if how else []
        found[name] = value.float()
    if wrong:
        more = f", and {len(wrong) - 2} more" if len(wrong) > 2 else ""
        raise ValueError(
            f"--init {told} does not fit {architecture}: {'; '.join(wrong[:2])}{more}; take the recipe of its size, or give "
            "model.architecture, model.embed_dim, model.depth and model.num_heads"
        )
    return found, resampled


def _as_target(given: dict[str, Tensor], target: Backbone, wanted: dict[str, tuple[int, ...]], told: str) -> dict[str, Tensor]:
    """Names and meanings as the model has them."""
    given = dict(given)
    for block in range(len(target.blocks)):
        for number in (1, 2):
            plain, module = f"blocks.{block}.gamma_{number}", f"blocks.{block}.ls{number}.gamma"
            theirs, ours = (module, plain) if plain in wanted else (plain, module)
            if theirs in given and ours in wanted:
                given[ours] = given.pop(theirs)
        if isinstance(target, Eva):
            _split_bias(given, f"blocks.{block}.attn", wanted, told)
    if isinstance(target, Eva):
        _drop_periods(given, target, told)
    if "pos_embed" in given and "pos_embed" in wanted and getattr(target, "no_embed_class", False):
        embedding = given["pos_embed"]
        if _grid(embedding.shape[1]) is None and _grid(embedding.shape[1] - 1) is not None:  # the first row is the class token's
            given["cls_token"] = given["cls_token"] + embedding[:, :1]
            given["pos_embed"] = embedding[:, 1:]
    return given


def _split_bias(given: dict[str, Tensor], attention: str, wanted: dict[str, tuple[int, ...]], told: str) -> None:
    """DINOv3's bias of queries, keys and values; that of keys is masked, and timm has none."""
    mask, bias = (given.pop(f"{attention}.qkv.{name}", None) for name in ("bias_mask", "bias"))
    if bias is None:
        return
    queries, keys, values = (bias if mask is None else bias * mask.nan_to_num()).chunk(3)
    if bool(keys.any()):
        raise ValueError(f"{attention}.qkv.bias of --init {told} is not zero for keys, which no DINOv3 of timm has; give another model")
    if f"{attention}.q_bias" in wanted:
        given |= {f"{attention}.q_bias": queries, f"{attention}.v_bias": values}
    elif bool(queries.any()) or bool(values.any()):
        raise ValueError(
            f"{attention}.qkv.bias of --init {told} is not zero, and the model has no such bias; give model.architecture with _qkvb"
        )


def _drop_periods(given: dict[str, Tensor], target: Eva, told: str) -> None:
    """Periods of the rotary positions are constants of the model; those of a file have to be the same, to bfloat16."""
    periods, rope = given.pop("rope_embed.periods", None), target.rope
    if periods is None or not isinstance(rope, RotaryEmbeddingDinoV3):
        return
    own = dict(RotaryEmbeddingDinoV3(dim=rope.dim, temperature=rope.temperature).named_buffers())["periods"]
    if periods.shape != own.shape or not torch.allclose(periods.float(), own, rtol=1e-2):
        raise ValueError(
            f"rotary positions of --init {told} have other periods than the model; name its architecture with model.architecture"
        )


def _resampled(name: str, tensor: Tensor, target: Backbone) -> tuple[Tensor, str]:
    """The tensor at the model's size, and what was done to it; empty if nothing."""
    if name == "patch_embed.proj.weight" and tensor.ndim == 4:
        size = list(target.patch_embed.proj.weight.shape[-2:])
        if list(tensor.shape[-2:]) != size:
            return resample_patch_embed(tensor.float(), size), f"patch embedding {_shape(tensor.shape[-2:])} -> {_shape(size)}"
    if name == "pos_embed" and tensor.ndim == 3:
        prefix = 0 if target.no_embed_class else target.num_prefix_tokens
        old, new = _grid(tensor.shape[1] - prefix), target.patch_embed.grid_size
        if old is not None and (old, old) != tuple(new):
            value = resample_abs_pos_embed(tensor.float(), new_size=list(new), old_size=[old, old], num_prefix_tokens=prefix)
            return value, f"pos_embed {old}x{old} -> {_shape(new)}"
    return tensor, ""


def _grid(num_patches: int) -> int | None:
    """Side of a square grid."""
    side = math.isqrt(max(num_patches, 0))
    return side if side and side * side == num_patches else None


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape)) or "a number"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")


def _hint(names: list[str]) -> str:
    """The setting that a mismatch is usually about."""
    if any("gamma" in name for name in names):
        return "; LayerScale is there or not by model.layer_scale_init, 0 for none"
    return ""
