"""Maps of frames as the detector reads them: of a frozen backbone from a cache, of one that is trained anew with each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import Backbone, BackboneError
from evaluation.heads import Maps, MapsWanted, read_maps
from evaluation.images import item_image, stream
from evaluation.maps import maps_of, num_maps
from evaluation.tasks import Item

__all__ = ["MapsAt", "frozen_maps", "maps_wanted", "pixel_maps", "test_maps", "trained_maps", "trunk_maps"]

Ints = npt.NDArray[np.int64]

MapsAt = Callable[[Ints, Sequence[int]], list[torch.Tensor]]
"""(ascending places of items, axes of [B, D, h, w] to mirror) to maps [B, D, h, w] float32 each"""

_STAGES = 3


def maps_wanted(backbone: Backbone) -> MapsWanted:
    """The last block of a transformer, or the last three stages of a CNN, at strides 8, 16 and 32.

    Raises:
        BackboneError: the network gives no maps, or has other stages.
    """
    if not backbone.has_tokens:
        raise BackboneError("the network gives one vector an image and no patch tokens, so boxes cannot be found; use a timm model")
    is_cnn = getattr(backbone.module, "num_prefix_tokens", None) is None
    wanted = MapsWanted(layout="last", num_levels=_STAGES if is_cnn else 1)
    if is_cnn and num_maps(backbone, wanted) != _STAGES:
        raise BackboneError(f"the network has fewer than {_STAGES} stages, so boxes cannot be found; use another model")
    return wanted


def frozen_maps(maps: Maps, device: torch.device) -> MapsAt:
    """Of maps that are computed already."""

    def at(index: Ints, mirrored: Sequence[int]) -> list[torch.Tensor]:
        return [level.flip(tuple(mirrored)) for level in read_maps(maps, index, device)]

    return at


def trained_maps(backbone: Backbone, items: Sequence[Item], *, num_workers: int) -> MapsAt:
    """Of a backbone that learns: images are read and pass it, with gradients where those are on."""
    load = partial(item_image, size=backbone.image_size, interpolation=backbone.interpolation)

    def at(index: Ints, mirrored: Sequence[int]) -> list[torch.Tensor]:
        chosen = [items[place] for place in index.tolist()]
        (pixels,) = stream(load, chosen, batch_size=len(chosen), num_workers=num_workers)
        return trunk_maps(backbone.module, backbone.prepared(pixels).flip(tuple(mirrored)))

    return at


def trunk_maps(module: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """What `maps_wanted` means, of normalised images [B, 3, H, W]."""
    if getattr(module, "num_prefix_tokens", None) is None:
        stages = range(len(module.feature_info))
        return list(module.forward_intermediates(images, indices=list(stages)[-_STAGES:])[1])
    last = len(module.blocks) - 1
    return list(module.forward_intermediates(images, indices=[last], norm=True, intermediates_only=True))


def test_maps(
    backbone: Backbone, items: Sequence[Item], *, is_trained: bool, batch_size: int | None, num_workers: int
) -> Iterator[list[torch.Tensor]]:
    """`pixel_maps` of frames batch by batch."""
    load = partial(item_image, size=backbone.image_size, interpolation=backbone.interpolation)
    for pixels in stream(load, items, batch_size=batch_size or backbone.batch_size, num_workers=num_workers):
        yield pixel_maps(backbone, pixels, is_trained=is_trained)


@torch.inference_mode()
def pixel_maps(backbone: Backbone, pixels: npt.NDArray[np.uint8], *, is_trained: bool) -> list[torch.Tensor]:
    """Maps of images [B, H, W, 3] uint8 RGB at the backbone's size, as they were in training: through float16 if they came from a cache."""
    if is_trained:
        return trunk_maps(backbone.module, backbone.prepared(pixels))
    return read_maps(maps_of(backbone, pixels, maps_wanted(backbone)), slice(None), backbone.device)
