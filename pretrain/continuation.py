"""What of a recipe changes when a run starts from trained weights, and why.

The model is the one that the weights are of: its architecture, patch size and normalisation. Three things guard what it knows:

- A quarter of the recipe's base rate. SurgeNetXL continued DINOv2's ViT-B on 4.7 million surgical frames with 1e-3 at settings that are
  else those of `fast`, whose rate from random weights is 4e-3 (rlpddejong/SurgeNetDINO, dinov2_configs/config_dinov2_vitb.yaml). A
  quarter of `long`'s 2e-4 is 5e-5, which DINOv3 trains with at last (facebookresearch/dinov3, vit7b16_pretrain.yaml). The `-hires`
  and `-gram` recipes have a tenth already and keep it.
- A backbone that stays as it is for twice `freeze_last_layer_steps`: while the prototypes are fixed, and as long again. With new heads
  and no such phase, the k-NN accuracy of DINOv2's own weights fell from 80 to 25 and 10% (facebookresearch/dinov2, issue 204).
- The guard of pretrain/guard.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from pretrain.config import ModelConfig, PretrainConfig
from pretrain.init_source import InitSource

__all__ = ["RATE_FACTOR", "continued", "model_of"]

RATE_FACTOR = 0.25
_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1536: "giant"}
_DEPTHS = {"tiny": 12, "small": 12, "base": 12, "large": 24, "huge": 32, "giant": 40}
_HEAD_DIM = 64
"""channels of an attention head in every public model but the giant one"""
_PATCH = re.compile(r"patch(\d+)")
_BLOCK = re.compile(r"blocks\.(\d+)\.")


def continued(name: str, config: PretrainConfig, source: InitSource) -> PretrainConfig:
    """A recipe for a run that starts from trained weights.

    Args:
        name: of the recipe.
        config: the recipe.
        source: the weights.

    Raises:
        ValueError: the file is no vision transformer that timm can build.
    """
    if config.video is not None:
        from pretrain.video.init_weights import continued_on_clips

        return continued_on_clips(config, source)
    model = model_of(source, config.model)
    is_last_phase = name.endswith(("-hires", "-gram"))
    optim = replace(
        config.optim,
        base_lr=config.optim.base_lr * (1 if is_last_phase else RATE_FACTOR),
        freeze_backbone_steps=2 * config.optim.freeze_last_layer_steps,
    )
    augment = replace(config.augment, local_size=_nearest(config.augment.local_size, model.patch_size))
    if source.mean is not None and source.std is not None and len(source.mean) == len(source.std) == 3:
        (red, green, blue), (wide_red, wide_green, wide_blue) = source.mean, source.std
        augment = replace(augment, mean=(red, green, blue), std=(wide_red, wide_green, wide_blue))
    return replace(config, model=model, optim=optim, augment=augment)


def model_of(source: InitSource, recipe: ModelConfig) -> ModelConfig:
    """The model that weights are of, at the recipe's image size to the nearest patch."""
    if source.architecture is None:
        return _model_in_file(source, recipe)
    args, named = source.model_args, _PATCH.search(source.architecture)
    patch = int(args.get("patch_size") or (named[1] if named else recipe.patch_size))
    return replace(
        recipe,
        architecture=source.architecture,
        img_size=_nearest(recipe.img_size, patch),
        patch_size=patch,
        embed_dim=args.get("embed_dim"),
        depth=args.get("depth"),
        num_heads=args.get("num_heads"),
        layer_scale_init=float(args.get("init_values", 1e-5 if "dinov" in source.architecture else 0.0)),
    )


def _nearest(size: int, patch: int) -> int:
    """Pixels in whole patches."""
    return max(1, round(size / patch)) * patch


def _model_in_file(source: InitSource, recipe: ModelConfig) -> ModelConfig:
    """From names and shapes: publishers' files say no more."""
    import timm

    from pretrain.init_layout import read_published

    tensors = read_published(source.weights, told=source.told).backbone
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    projection = shapes.get("patch_embed.proj.weight", ())
    if len(projection) != 4:
        raise ValueError(f"--init {source.told} has no patch embedding of a vision transformer; give the file of one")
    dim, patch = projection[0], projection[-1]
    depth = 1 + max(int(found[1]) for found in map(_BLOCK.match, shapes) if found)
    size = _SIZES.get(dim, "small")
    has_bias = any(name.endswith(("q_bias", "v_bias", "qkv.bias")) and bool(tensor.any()) for name, tensor in tensors.items())
    architecture = _architecture(shapes, size, has_bias=has_bias)
    if not timm.is_model(architecture):
        raise ValueError(
            f"--init {source.told} looks like {architecture}, which timm has not; give its timm export, a folder with config.json"
        )
    is_standard = size == _SIZES.get(dim) and f"_{size}_" in architecture and depth == _DEPTHS[size]
    scale = next((name for name in shapes if "gamma" in name), None)
    return replace(
        recipe,
        architecture=architecture,
        img_size=_nearest(recipe.img_size, patch),
        patch_size=patch,
        embed_dim=None if is_standard else dim,
        depth=None if is_standard else depth,
        num_heads=None if is_standard else max(1, dim // _HEAD_DIM),
        layer_scale_init=0.0 if scale is None else recipe.layer_scale_init or 1e-5,
    )


def _architecture(shapes: Mapping[str, tuple[int, ...]], size: str, *, has_bias: bool) -> str:
    """The timm architecture with such tensors."""
    has_registers = "reg_token" in shapes
    is_scaled = any("gamma" in name for name in shapes)
    if "pos_embed" not in shapes:
        plus = "_plus" if any(".mlp.fc1_g." in name for name in shapes) else ""
        return f"vit_{size}{plus}_patch16_dinov3{'_qkvb' if has_bias else ''}"
    if has_registers or is_scaled:
        return f"vit_{'small' if size == 'tiny' else size}_patch14_{'reg4_' if has_registers else ''}dinov2"
    return f"vit_{size}_patch14_224" if size in ("huge", "giant") else f"vit_{size}_patch16_224"
