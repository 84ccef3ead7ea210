"""Frozen features of a whole task, computed once per (weights, data, transform) and kept on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from evaluation.backbone import Backbone, ModelRef, config_id, features_of, many_images, token_batches
from evaluation.heads import Maps, MapsWanted
from evaluation.images import item_image, stream
from evaluation.maps import map_batches, num_maps
from evaluation.tasks import Item
from warehouse.store import atomic_file, content_id

__all__ = ["cached_features", "cached_maps", "cached_tokens", "extract_features", "found_features", "found_maps"]

FEATURES_VERSION = 3

Floats = npt.NDArray[np.float32]


def extract_features(backbone: Backbone, items: Sequence[Item], *, batch_size: int | None, num_workers: int) -> dict[str, Floats]:
    """Feature sets of items by name, [N, D] float32 each, in the items' order."""
    load = partial(item_image, size=backbone.image_size, interpolation=backbone.interpolation)
    run = many_images(backbone, len(items))
    batches = [
        features_of(backbone, pixels, run=run)
        for pixels in stream(load, items, batch_size=batch_size or backbone.batch_size, num_workers=num_workers)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def cached_features(
    backbone: Backbone,
    model: ModelRef,
    items: Sequence[Item],
    *,
    data_id: str,
    seed: int,
    cache_dir: Path,
    batch_size: int | None,
    num_workers: int,
) -> dict[str, Floats]:
    """`extract_features`, read from the cache where it was done before; a damaged or shorter cache file is made again."""
    path = cache_dir / f"{_key('features', backbone, model, data_id, seed)}.safetensors"
    if path.is_file():
        try:
            found = load_file(path)
        except SafetensorError:
            found = {}
        if found and all(len(values) == len(items) for values in found.values()):
            return found
    features = extract_features(backbone, items, batch_size=batch_size, num_workers=num_workers)
    with atomic_file(path) as file:
        file.write(save(features))
    return features


def cached_tokens(
    backbone: Backbone,
    model: ModelRef,
    items: Sequence[Item],
    *,
    data_id: str,
    seed: int,
    cache_dir: Path,
    batch_size: int | None,
    num_workers: int,
) -> npt.NDArray[np.float16]:
    """Patch-token maps of items, [N, D, h, w] float16, as a read-only memory map of a .npy file in the cache.

    The file is written batch by batch: a million images of patch tokens do not fit in memory.
    """
    path = cache_dir / f"{_key('tokens', backbone, model, data_id, seed)}.npy"
    if not path.is_file():
        with atomic_file(path) as file:
            for number, batch in enumerate(token_batches(backbone, items, batch_size=batch_size, num_workers=num_workers)):
                if number == 0:
                    header = {"descr": "<f2", "fortran_order": False, "shape": (len(items), *batch.shape[1:])}
                    np.lib.format.write_array_header_2_0(file, header)
                file.write(np.ascontiguousarray(batch, dtype="<f2").data)
    tokens: npt.NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return tokens


def cached_maps(
    backbone: Backbone,
    model: ModelRef,
    items: Sequence[Item],
    wanted: MapsWanted,
    *,
    data_id: str,
    seed: int,
    cache_dir: Path,
    batch_size: int | None,
    num_workers: int,
) -> Maps:
    """The maps of items that a mask head reads, [N, D, h, w] float16 each, as read-only memory maps; a file a level."""
    if wanted.layout == "tokens":
        told: dict[str, Any] = {
            "data_id": data_id,
            "seed": seed,
            "cache_dir": cache_dir,
            "batch_size": batch_size,
            "num_workers": num_workers,
        }
        return (cached_tokens(backbone, model, items, **told),)
    key = _key(f"{wanted.layout} {wanted.num_levels}", backbone, model, data_id, seed)
    paths = [cache_dir / f"{key}-{number}.npy" for number in range(num_maps(backbone, wanted))]
    if not all(path.is_file() for path in paths):
        with contextlib.ExitStack() as files:
            opened = [files.enter_context(atomic_file(path)) for path in paths]
            batches = map_batches(backbone, items, wanted, batch_size=batch_size, num_workers=num_workers)
            for number, levels in enumerate(batches):
                for file, level in zip(opened, levels, strict=True):
                    if number == 0:
                        header = {"descr": "<f2", "fortran_order": False, "shape": (len(items), *level.shape[1:])}
                        np.lib.format.write_array_header_2_0(file, header)
                    file.write(np.ascontiguousarray(level, dtype="<f2").data)
    return tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)


def found_features(backbone: Backbone, model: ModelRef, *, data_id: str, seed: int, cache_dir: Path) -> dict[str, Floats] | None:
    """What `cached_features` has kept; None where it is gone or damaged."""
    path = cache_dir / f"{_key('features', backbone, model, data_id, seed)}.safetensors"
    try:
        return load_file(path) if path.is_file() else None
    except SafetensorError:
        return None


def found_maps(backbone: Backbone, model: ModelRef, wanted: MapsWanted, *, data_id: str, seed: int, cache_dir: Path) -> Maps | None:
    """What `cached_maps` has kept, as read-only memory maps; None where a file is gone."""
    if wanted.layout == "tokens":
        paths = [cache_dir / f"{_key('tokens', backbone, model, data_id, seed)}.npy"]
    else:
        key = _key(f"{wanted.layout} {wanted.num_levels}", backbone, model, data_id, seed)
        paths = [cache_dir / f"{key}-{number}.npy" for number in range(num_maps(backbone, wanted))]
    if not all(path.is_file() for path in paths):
        return None
    return tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)


def _key(what: str, backbone: Backbone, model: ModelRef, data_id: str, seed: int) -> str:
    weights = f"random {seed + model.draw}" if model.weights == "random" else "trained"
    return content_id([what, FEATURES_VERSION, model.model_id, config_id(model), weights, data_id, backbone.transform])
