"""Decode and resize evaluation images and masks, in threads, ahead of the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from evaluation.tasks import Item, TaskError, box_fault, eight_bit, mask_pixels, open_file, upright

_T = TypeVar("_T")

__all__ = ["array_image", "item_image", "jpeg_image", "mask_pixels", "stream"]

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


def item_image(item: Item, *, size: int, interpolation: str = "bicubic") -> npt.NDArray[np.uint8]:
    """The item's upright image, cropped to its box and resized whole to [size, size, 3] RGB; the aspect ratio is not kept.

    Raises:
        TaskError: the file does not decode, has values that cannot be scaled to 8 bits, or the box is outside the image.
    """
    with open_file(item.path) as file:
        image = eight_bit(upright(file), item.path)
        if item.box is not None:
            if fault := box_fault(item, image.size):
                raise TaskError(fault)
            x, y, width, height = item.box
            image = image.crop((x, y, x + width, y + height))
        return _resized(image, size, interpolation)


def array_image(rgb: npt.NDArray[np.uint8], *, size: int, interpolation: str = "bicubic") -> npt.NDArray[np.uint8]:
    """Pixels [H, W, 3] RGB as [size, size, 3], resized as `item_image` resizes a file."""
    return _resized(Image.fromarray(rgb), size, interpolation)


def jpeg_image(data: bytes, *, size: int, interpolation: str = "bicubic") -> npt.NDArray[np.uint8]:
    """Encoded bytes as [size, size, 3] RGB."""
    with Image.open(BytesIO(data)) as image:
        return _resized(image, size, interpolation)


def stream(
    load: Callable[[_T], npt.NDArray[np.uint8]], things: Sequence[_T], *, batch_size: int, num_workers: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Batches [B, ...] of `load(thing)` in order, with at most two batches decoded ahead."""
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque[list[Future[npt.NDArray[np.uint8]]]] = deque()
        for start in range(0, len(things), batch_size):
            waiting.append([pool.submit(load, thing) for thing in things[start : start + batch_size]])
            if len(waiting) > 2:
                yield np.stack([future.result() for future in waiting.popleft()])
        while waiting:
            yield np.stack([future.result() for future in waiting.popleft()])


def _resized(image: Image.Image, size: int, interpolation: str) -> npt.NDArray[np.uint8]:
    rgb = image.convert("RGB")
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), _RESAMPLING.get(interpolation, Image.Resampling.BICUBIC))
    return np.asarray(rgb)
