"""Patch-token maps of a backbone in the layouts that mask heads read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import Backbone, BackboneError, ModelRef, load_backbone, set_size, token_batches
from evaluation.heads import MapsWanted, joined
from evaluation.images import item_image, stream
from evaluation.tasks import Item

__all__ = ["levels_of", "map_batches", "maps_of", "num_maps", "resized_backbone"]

Maps = tuple[npt.NDArray[np.float16], ...]

_CNN_MULTIPLE = 32

_NO_TOKENS = "the network gives one vector an image and no patch tokens, so masks cannot be scored; use a timm model"


def resized_backbone(backbone: Backbone, model: ModelRef, scale: float, *, seed: int) -> Backbone:
    """The backbone at `scale` times its image size, to the nearest multiple of its patch size (32 for a CNN).

    A transformer is read from its file again, so that position embeddings are resampled once. One whose weights a head changed is in no
    file: it is copied, and its own embeddings are resampled.

    Raises:
        BackboneError: it cannot take that size.
    """
    patch = getattr(getattr(backbone.module, "patch_embed", None), "patch_size", None)
    multiple = int(patch[0]) if patch is not None else _CNN_MULTIPLE
    size = backbone.image_size if scale == 1 else max(1, round(backbone.image_size * scale / multiple)) * multiple
    if size == backbone.image_size or not backbone.has_tokens:
        return backbone
    if patch is None:  # convolutions take any size
        return replace(backbone, image_size=size)
    if backbone.is_changed:
        module = deepcopy(backbone.module)
        set_size(module, size)
        return replace(backbone, module=module, image_size=size)
    return load_backbone(model, device=str(backbone.device), image_size=size, seed=seed)


def map_batches(
    backbone: Backbone,
    items: Sequence[Item],
    wanted: MapsWanted,
    *,
    batch_size: int | None,
    num_workers: int,
    is_mirrored: bool = False,
) -> Iterator[Maps]:
    """Maps of items, a tuple of [B, D, h, w] float16 a batch, in order; of their mirror images if asked for.

    Raises:
        BackboneError: the network gives none.
    """
    if wanted.layout == "tokens" and not is_mirrored:
        for tokens in token_batches(backbone, items, batch_size=batch_size, num_workers=num_workers):
            yield (tokens,)
        return
    if not backbone.has_tokens:
        raise BackboneError(_NO_TOKENS)
    load = partial(item_image, size=backbone.image_size, interpolation=backbone.interpolation)
    for pixels in stream(load, items, batch_size=batch_size or backbone.batch_size, num_workers=num_workers):
        yield maps_of(backbone, pixels, wanted, is_mirrored=is_mirrored)


def maps_of(backbone: Backbone, pixels: npt.NDArray[np.uint8], wanted: MapsWanted, *, is_mirrored: bool = False) -> Maps:
    """Maps [B, D, h, w] float16 of images [B, H, W, 3] uint8 RGB at the backbone's size, or of their mirror images."""
    with torch.inference_mode():
        levels = levels_of(backbone.module, backbone.prepared(pixels[:, :, ::-1] if is_mirrored else pixels), wanted)
    return tuple(level.clamp(-65504, 65504).half().cpu().numpy() for level in levels)


def num_maps(backbone: Backbone, wanted: MapsWanted) -> int:
    """How many maps of an image a head reads.

    Raises:
        BackboneError: the network gives none, or fewer than the head needs.
    """
    if not backbone.has_tokens:
        raise BackboneError(_NO_TOKENS)
    return 1 if wanted.layout in ("tokens", "joined") else len(_indices(backbone.module, wanted))


def levels_of(module: Any, images: torch.Tensor, wanted: MapsWanted) -> list[torch.Tensor]:
    """Maps [B, D, h, w] of normalised images [B, 3, H, W], the last block or stage last."""
    indices = _indices(module, wanted)
    if _is_cnn(module):
        maps = list(module.forward_intermediates(images, indices=indices)[1])
    else:
        maps = list(module.forward_intermediates(images, indices=indices, norm=True, intermediates_only=True))
    return [joined(maps)] if wanted.layout in ("tokens", "joined") else maps


def _indices(module: Any, wanted: MapsWanted) -> list[int]:
    """Numbers of the blocks or stages that are read, ascending.

    Raises:
        BackboneError: it has fewer than a head needs.
    """
    is_cnn = _is_cnn(module)
    depth = len(module.feature_info) if is_cnn else len(module.blocks)
    number = (2 if is_cnn else 1) if wanted.layout == "tokens" else wanted.num_levels
    if wanted.layout != "spaced":
        return list(range(depth))[-number:]
    if depth < number:
        raise BackboneError(f"the network has {depth} blocks or stages, and this head reads {number}; use another head, such as linear")
    if is_cnn:
        return list(range(depth))[-number:]
    return [depth * part // number - 1 for part in range(1, number + 1)]  # blocks 3, 6, 9 and 12 of twelve


def _is_cnn(module: Any) -> bool:
    return getattr(module, "num_prefix_tokens", None) is None
