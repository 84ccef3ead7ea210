"""Masks by a video network: each frame is seen in the middle of a window of its neighbours in the sequence.

A frame of a set without sequences is a sequence of its own, so its window repeats it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.heads import MASK_HEADS, HeadSettings, Maps, MapsWanted, MaskLabelled, SelectionSplit, chosen_heads
from evaluation.images import item_image, mask_pixels, stream
from evaluation.mask_rows import scored_masks
from evaluation.mask_scoring import predicted_masks, target_masks
from evaluation.stored_evaluation import Places, Rows
from evaluation.tasks import Item, TaskData
from evaluation.training_vectors import OF_FROZEN, all_vectors, keep_training_vectors
from evaluation.video.clip_backbone import ClipBackbone
from evaluation.video.clip_features import clip_device, num_frames_of
from evaluation.video.context_windows import INTERPOLATION, middle_patches, window_places
from warehouse.store import atomic_file, content_id

__all__ = ["context_batches", "context_levels", "context_maps", "context_rows", "keep_context_vectors", "neighbours"]

CONTEXT_VERSION = 2

_SELECTION: tuple[SelectionSplit, ...] = ("train", "val")


def context_rows(backbone: ClipBackbone, model: ModelRef, task: TaskData, data_id: str, config: EvaluateConfig, places: Places) -> Rows:
    """Fit every mask head on train and val, on the middle frames' patches, and score the test frames at their native size.

    The network gives the patches of its last block; a head that reads several levels reads these at each.

    Raises:
        HeadError: a head does not exist, or does not serve masks.
    """
    if task.kind != "segmentation":
        raise ValueError(f"task {task.name} has classes of single images, and the model is a video network; give an image backbone")
    device, frames = clip_device(config.device), num_frames_of(backbone, config)
    settings = HeadSettings(config=config, num_classes=len(task.classes), metric=task.protocol.primary, device=device)
    maps = {
        split: context_maps(backbone, model, task, split, frames, data_id, config, places, device) for split in ("train", "val", "test")
    }
    keep_context_vectors(maps["train"], maps["val"], places)
    scored: Rows = []
    for name in chosen_heads(config.heads, task.protocol.heads, task.kind):
        head = MASK_HEADS[name]
        wanted = head.maps or MapsWanted(layout="tokens")
        levels = context_levels(wanted)
        train, val = (_labelled(backbone, task, split, maps[split], levels, is_dense=wanted.is_dense) for split in _SELECTION)
        fitted = head.fit(train, val, settings)
        # from here on nothing is chosen any more, and the test split is read
        items = task.split("test")
        sizes = (mask_pixels(item).shape for item in items)
        tested: Maps = (maps["test"],) * levels
        predicted = predicted_masks(fitted, [([tested], False)], ((height, width) for height, width in sizes), device=device)
        told = {"tokens": "{1}x{0}".format(*maps["test"].shape[2:]), "clip_frames": str(frames)}
        scored += scored_masks(name, fitted, predicted, model, task, data_id, config, places, image_size=backbone.image_size, told=told)
    return scored


def keep_context_vectors(train: npt.NDArray[np.float16], val: npt.NDArray[np.float16], places: Places) -> None:
    """Keep the mean patch of each middle frame, from maps [N, D, h, w], for the distance of a prediction."""
    keep_training_vectors(places.root / places.folder / OF_FROZEN, all_vectors((train,)), all_vectors((val,)))


def context_levels(wanted: MapsWanted) -> int:
    """How often a head is given the patches of the last block, which stand for every level that it reads."""
    return 1 if wanted.layout in ("tokens", "joined") else wanted.num_levels


def _labelled(
    backbone: ClipBackbone, task: TaskData, split: SelectionSplit, patches: npt.NDArray[np.float16], levels: int, *, is_dense: bool
) -> MaskLabelled:
    size = backbone.image_size if is_dense else max(4 * patches.shape[3], backbone.image_size // 4)
    return MaskLabelled(split, (patches,) * levels, target_masks(task.split(split), size=size))


def neighbours(items: Sequence[Item], *, num_frames: int) -> list[tuple[tuple[Item, ...], int]]:
    """For each item the window of its sequence around it, and its place in the window.

    Frames are in the order of the numbers in their names. The window has `num_frames` frames, the item in the middle, of an even number
    behind the middle. At the ends of a sequence the window is moved inside; of a shorter one the last frame is repeated.
    """
    sequences: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        sequences[item.split, item.group].append(number)
    found: dict[int, tuple[tuple[Item, ...], int]] = {}
    for numbers in sequences.values():
        ordered = sorted(numbers, key=lambda number: _frame_key(items[number].path))
        for place, number in enumerate(ordered):
            window, own = window_places(place, len(ordered), num_frames=num_frames)
            found[number] = tuple(items[ordered[at]] for at in window), own
    return [found[number] for number in range(len(items))]


def _frame_key(path: str) -> tuple[tuple[int, str], ...]:
    """Names in the order of the numbers in them."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", Path(path).stem))


def context_maps(
    backbone: ClipBackbone,
    model: ModelRef,
    task: TaskData,
    split: str,
    num_frames: int,
    data_id: str,
    config: EvaluateConfig,
    places: Places,
    device: torch.device,
) -> npt.NDArray[np.float16]:
    """Patches of the middle frames, [N, D, h, w] float16, as a read-only memory map."""
    weights = f"random {config.seed + model.draw}" if model.weights == "random" else "trained"
    items = task.split(split)
    transform = [backbone.image_size, backbone.mean, backbone.std, INTERPOLATION]
    what = [CONTEXT_VERSION, model.model_id, weights, data_id, split, _positions(items, num_frames=num_frames), *transform]
    path = places.cache / f"{content_id(['context', *what])}.npy"
    if not path.is_file():
        with atomic_file(path) as file:
            for number, batch in enumerate(context_batches(backbone, items, num_frames, config, device)):
                if number == 0:
                    header = {"descr": "<f2", "fortran_order": False, "shape": (len(items), *batch.shape[1:])}
                    np.lib.format.write_array_header_2_0(file, header)
                file.write(np.ascontiguousarray(batch, dtype="<f2").data)
    found: npt.NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _positions(items: Sequence[Item], *, num_frames: int) -> list[tuple[list[int], int]]:
    """Each item's window as positions in `items`: names of files order it, which the id of the data does not hold."""
    position = {id(item): number for number, item in enumerate(items)}
    return [([position[id(item)] for item in window], place) for window, place in neighbours(items, num_frames=num_frames)]


def context_batches(
    backbone: ClipBackbone, items: Sequence[Item], num_frames: int, config: EvaluateConfig, device: torch.device
) -> Iterator[npt.NDArray[np.float16]]:
    """Patches of the middle frames, [B, D, h, w] a batch, in the items' order."""
    windows = neighbours(items, num_frames=num_frames)
    load: Any = partial(_window_pixels, size=backbone.image_size)
    at_once = max(1, (config.batch_size or (64 if device.type == "cuda" else 8)) // num_frames)
    done = 0
    for pixels in stream(load, windows, batch_size=at_once, num_workers=config.num_workers):
        places = [place for _, place in windows[done : done + len(pixels)]]
        done += len(pixels)
        yield middle_patches(backbone, pixels, places, device=device)


def _window_pixels(window: tuple[tuple[Item, ...], int], *, size: int) -> npt.NDArray[np.uint8]:
    return np.stack([item_image(item, size=size, interpolation=INTERPOLATION) for item in window[0]])
