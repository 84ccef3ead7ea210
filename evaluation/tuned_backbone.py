"""Between heads that change a backbone and the backbone itself: what they train on, and the backbone as they changed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import Backbone, BackboneError, ModelRef, vectors_and_tokens
from evaluation.heads import FittedClasses, FittedMasks, Frozen, MapsWanted, Pictures, Trunk, TunedClasses, TunedMasks, changed
from evaluation.images import item_image, stream
from evaluation.maps import levels_of
from evaluation.tasks import Item, TaskData
from warehouse.store import atomic_file, content_id

__all__ = ["adapted_backbone", "is_tuned_on", "kept_pixels", "pictures_of", "shown_pictures", "trunk_of"]

Pixels = npt.NDArray[np.uint8]

_BATCH = 32


def is_tuned_on(model: ModelRef) -> bool:
    """Whether heads that change the backbone are trained for a model.

    They are not for the further draws of random weights, which they cost most, nor for a network of a package, whose weights
    are not at hand.
    """
    return model.draw == 0 and model.network is None


def trunk_of(backbone: Backbone, wanted: MapsWanted | None = None) -> Trunk:
    """The backbone as heads train it: its vector, or the maps of a head of masks.

    Raises:
        BackboneError: it is a network whose weights are not at hand.
    """
    if not backbone.has_tokens:
        raise BackboneError("the network comes from a package and cannot be trained here; use a timm model, or heads of a frozen backbone")

    def vector(module: Any, images: torch.Tensor) -> list[torch.Tensor]:
        return vectors_and_tokens(module, images, num_blocks=1)[0][-1:]

    def maps(module: Any, images: torch.Tensor) -> list[torch.Tensor]:
        assert wanted is not None
        return levels_of(module, images, wanted)

    return Trunk(module=backbone.module, prepared=backbone.prepared, read=vector if wanted is None else maps)


def adapted_backbone(backbone: Backbone, head: FittedClasses | FittedMasks) -> Backbone:
    """The backbone as a head changed it; as it is where the head changes none."""
    if not isinstance(head, TunedClasses | TunedMasks):
        return backbone
    return replace(backbone, module=changed(backbone.module, head.change), is_changed=True)


def shown_pictures(
    backbone: Backbone, task: TaskData, parts: Sequence[Frozen], *, images_id: str, cache_dir: Path, num_workers: int
) -> list[Pictures[Frozen]]:
    """The pictures of splits at the backbone's size, [N, S, S, 3] RGB, with what the unchanged backbone gives for them.

    Args:
        backbone: whose size and interpolation count; its weights do not.
        task: whose items are decoded.
        parts: of its splits, each with the features or maps of all the split's items.
        images_id: of the task's images, whatever their labels and splits; folds of one set share it.
        cache_dir: for the pictures.
        num_workers: threads that decode.
    """
    size = backbone.image_size

    def pixels(items: Sequence[Item], items_id: str) -> Pixels:
        load = partial(item_image, size=size, interpolation=backbone.interpolation)
        path = cache_dir / f"{content_id(['pixels', items_id, size, backbone.interpolation])}.npy"
        return kept_pixels(path, (len(items), size, size, 3), stream(load, items, batch_size=_BATCH, num_workers=num_workers))

    return pictures_of(task, parts, pixels, images_id=images_id)


def pictures_of(
    task: TaskData, parts: Sequence[Frozen], pixels: Callable[[Sequence[Item], str], Pixels], *, images_id: str
) -> list[Pictures[Frozen]]:
    """The pictures of splits, with what the unchanged backbone gives for them.

    Args:
        task: whose items are decoded.
        parts: of its splits, each with the features or maps of all the split's items.
        pixels: items, and an id of them in their order, to their pixels.
        images_id: of the task's images, whatever their labels and splits; folds of one set share it.
    """
    divisions = [content_id([item.split == part.split for item in task.items]) for part in parts]
    return [
        Pictures(part, pixels(task.split(part.split), f"{images_id} {division}")) for part, division in zip(parts, divisions, strict=True)
    ]


def kept_pixels(path: Path, shape: tuple[int, ...], batches: Iterable[Pixels]) -> Pixels:
    """Pixels as a read-only memory map of a .npy file, which is written from `batches` if it is not there; else these are not begun."""
    if not path.is_file():
        with atomic_file(path) as file:
            np.lib.format.write_array_header_2_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for pixels in batches:
                file.write(np.ascontiguousarray(pixels).data)
    found: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return found
