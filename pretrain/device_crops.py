"""A step's images as loader processes hand them over when crops are made on the device: decoded, beside what was drawn for their crops.

Images are sorted by size and go in parts, each padded to its largest image, so that one large image widens one part alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.augment import HUE, Box, CropDraw
from pretrain.config import PretrainConfig
from pretrain.decode import choose_reduction
from pretrain.device_augment import GROUPS, NUM_COLUMNS, Column, apply_groups, num_taps, resized

__all__ = ["Images", "crops_on_device", "is_on_device", "pack_images"]

_NUM_GLOBAL = 2
_PART = 64  # images; their rows between the two passes of the resize take 4 bytes x 1,232 columns x 3 x height each for vits14
_MULTIPLE = 16  # of a canvas's sides, for the matrix units
_MOST_PIXELS = 1 << 21  # of an image that is no JPEG and was decoded in full

Pixels = NDArray[np.uint8]


class Images(NamedTuple):
    """A worker's part of a step."""

    canvases: list[Tensor]
    """of each part, (images, height, width, 3) uint8, each image at the top left"""
    draws: Tensor
    """(crops, columns) float32: of each part its global and then its local crops, image by image"""
    rows: Tensor
    """int64: of each part and kind of crop where they go, view by view, and then the crops of each group"""
    counts: list[list[int]]
    """of each part and kind, how many of `rows` each of these takes"""


def is_on_device(config: PretrainConfig, device: torch.device) -> bool:
    """Whether crops are made on the device."""
    where = config.data.augment_on
    return device.type == "cuda" if where == "auto" else where == "device"


def pack_images(found: Sequence[tuple[Pixels, list[CropDraw]]], config: PretrainConfig) -> Images:
    """Images and their draws, ready to be moved.

    Args:
        found: each image with the draws of its global and local crops.
        config: sizes of crops.
    """
    kinds = [(slice(0, _NUM_GLOBAL), _NUM_GLOBAL), (slice(_NUM_GLOBAL, None), config.augment.num_local)]
    bounded = [_bounded(image, draws, config) for image, draws in found]
    order = sorted(range(len(bounded)), key=lambda place: bounded[place][0].shape)
    canvases, tables, rows, counts = [], [], [], []
    for start in range(0, len(order), _PART):
        part = order[start : start + _PART]
        canvases.append(_canvas([bounded[place][0] for place in part]))
        for own, views in kinds:
            if not views:
                continue
            draws = [draw for place in part for draw in bounded[place][1][own]]
            sizes = [bounded[place][0].shape for place in part for _ in range(views)]
            table = np.array([_row(draw, shape) for draw, shape in zip(draws, sizes, strict=True)], np.float32)
            targets = np.array([view * len(order) + place for place in part for view in range(views)])
            lists = [targets, *_groups(draws)]
            tables.append(table)
            rows += lists
            counts.append([len(each) for each in lists])
    return Images(canvases, torch.from_numpy(np.concatenate(tables)), torch.from_numpy(np.concatenate(rows).astype(np.int64)), counts)


def crops_on_device(images: Images, config: PretrainConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Global and local crops as a loader makes them, (views, images, side, side, 3) uint8, on the device."""
    sides = [(_NUM_GLOBAL, config.model.img_size), (config.augment.num_local, config.augment.local_size)]
    num_images = sum(len(canvas) for canvas in images.canvases)
    crops = [torch.empty(views * num_images, side, side, 3, dtype=torch.uint8, device=device) for views, side in sides]
    draws, rows = (tensor.to(device, non_blocking=True) for tensor in (images.draws, images.rows))
    counts = iter(images.counts)
    first = first_row = 0
    for canvas in images.canvases:
        moved = canvas.to(device, non_blocking=True)
        for (views, side), made in zip(sides, crops, strict=True):
            if not views:
                continue
            lengths = next(counts)
            targets, *groups = torch.split(rows[first_row : first_row + sum(lengths)], lengths)
            first_row += sum(lengths)
            own = draws[first : first + len(canvas) * views]
            taps = _taps(images.draws[first : first + len(own)], side, canvas)
            pixels = resized(moved, own.view(len(canvas), views, NUM_COLUMNS), side, taps)
            first += len(own)
            made.index_copy_(0, targets, apply_groups(pixels, own, groups).permute(0, 2, 3, 1).to(torch.uint8))
    whole, local = (made.view(views, num_images, side, side, 3) for (views, side), made in zip(sides, crops, strict=True))
    return whole, local


def _taps(draws: Tensor, side: int, canvas: Tensor) -> tuple[int, int]:
    """What `resized` needs to know of draws on the host."""
    longest = (draws[:, Column.RIGHT : Column.BOTTOM + 1] - draws[:, Column.LEFT : Column.TOP + 1]).amax(dim=0).tolist()
    return num_taps(longest[0], side, canvas.shape[2]), num_taps(longest[1], side, canvas.shape[1])


def _canvas(images: list[Pixels]) -> Tensor:
    """(images, height, width, 3), black where an image does not reach."""
    height, width = (-(-max(image.shape[axis] for image in images) // _MULTIPLE) * _MULTIPLE for axis in (0, 1))
    canvas = np.zeros((len(images), height, width, 3), np.uint8)
    for place, image in enumerate(images):
        canvas[place, : image.shape[0], : image.shape[1]] = image
    return torch.from_numpy(canvas)


def _bounded(image: Pixels, draws: list[CropDraw], config: PretrainConfig) -> tuple[Pixels, list[CropDraw]]:
    """A large image that could not be decoded smaller, made smaller as far as its boxes then have the pixels of their crops."""
    height, width, _ = image.shape
    sides = [config.model.img_size] * _NUM_GLOBAL + [config.augment.local_size] * config.augment.num_local
    if height * width <= _MOST_PIXELS or (factor := choose_reduction([draw.box for draw in draws], sides)) == 1:
        return image, draws
    smaller = cv2.resize(image, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA)
    return smaller.astype(np.uint8, copy=False), [_reduced(draw, factor) for draw in draws]


def _reduced(draw: CropDraw, factor: int) -> CropDraw:
    left, top, right, bottom = draw.box
    box: Box = (left / factor, top / factor, right / factor, bottom / factor)
    return replace(draw, box=box)


def _row(draw: CropDraw, shape: tuple[int, ...]) -> list[float]:
    """A crop's columns."""
    row = [0.0] * NUM_COLUMNS
    row[: Column.ORDER] = [*draw.box, shape[1], shape[0], float(draw.hflip), float(draw.vflip)]
    row[Column.SIGMA] = draw.sigma
    if draw.jitter is not None:
        row[Column.ORDER : Column.SIGMA] = [*draw.jitter.order, *draw.jitter.factors, draw.jitter.hue_shift]
    return row


def _groups(draws: list[CropDraw]) -> list[NDArray[np.int64]]:
    """For each of GROUPS the crops that have the operation."""
    found: dict[str, list[int]] = {name: [] for name in GROUPS}
    for number, draw in enumerate(draws):
        for place, which in enumerate(draw.jitter.order if draw.jitter else ()):
            found[f"{'hue' if which == HUE else 'blend'} {place}"].append(number)
        for name, has_it in (("gray", draw.gray), ("blur", draw.sigma > 0), ("solarize", draw.solarize)):
            if has_it:
                found[name].append(number)
    return [np.array(found[name], np.int64) for name in GROUPS]
