"""Boxes made from masks: the bounding box of each connected region. A stand-in for boxes that a person drew, and named as such."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from evaluation.tasks.cvc_clinicdb import CVC_CLINICDB
from evaluation.tasks.items import Item, TaskError, TrueBox
from evaluation.tasks.kvasir_seg import KVASIR_SEG
from evaluation.tasks.task import Reading, Task

__all__ = ["CVC_CLINICDB_BOXES", "KVASIR_SEG_BOXES", "boxes_of_mask"]

LEAST_SHARE = 0.001
"""of the picture's pixels; smaller regions are specks of a mask that was stored as JPEG or drawn with a slip"""

Corners = tuple[float, float, float, float]


def boxes_of_mask(item: Item) -> tuple[tuple[Corners, ...], int]:
    """Boxes of the regions of a mask in pixels of its image, from left to right, and how many specks were left out.

    Raises:
        TaskError: the image or the mask does not decode.
    """
    import cv2
    import numpy as np

    from evaluation.tasks.masks import mask_pixels
    from evaluation.tasks.pixels import open_file, oriented_size

    mask = mask_pixels(item)
    with open_file(item.path) as image:
        width, height = oriented_size(image)
    across, down = width / mask.shape[1], height / mask.shape[0]
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    large = [tuple(map(int, row)) for row in stats[1:] if row[4] >= max(1, LEAST_SHARE * mask.size)]
    boxes = tuple(sorted((x * across, y * down, (x + w) * across, (y + h) * down) for x, y, w, h, _ in large))
    return boxes, len(stats) - 1 - len(large)


@lru_cache(maxsize=4)  # a command reads its set twice, once to check it before any work
def _found(items: tuple[Item, ...], _: tuple[float, ...]) -> tuple[tuple[tuple[Corners, ...], int] | str, ...]:
    def look(item: Item) -> tuple[tuple[Corners, ...], int] | str:
        try:
            return boxes_of_mask(item)
        except TaskError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        return tuple(pool.map(look, items))


def _reader(source: Task) -> Callable[[Path], Reading]:
    def read(data: Path) -> Reading:
        from evaluation.tasks.masks import learn_masks  # Pillow, which an installation for questions alone has not

        try:
            found, notes = source.read(data)
            masked, _ = learn_masks(found)
        except TaskError as error:
            raise TaskError(f"task {source.name}_boxes: {error}") from error
        boxed = _found(tuple(masked), tuple(Path(str(item.mask)).stat().st_mtime for item in masked if Path(str(item.mask)).is_file()))
        items = [_boxed(item, boxes[0]) for item, boxes in zip(masked, boxed, strict=True) if not isinstance(boxes, str)]
        faults = [Path(item.path).name for item, boxes in zip(masked, boxed, strict=True) if isinstance(boxes, str)]
        specks = sum(boxes[1] for boxes in boxed if not isinstance(boxes, str))
        told = [f"boxes: made from masks, {sum(len(item.boxes or ()) for item in items):,} connected regions of {len(items):,} images"]
        if specks:
            told.append(f"specks: {specks:,} regions below {LEAST_SHARE:.1%} of their picture have no box")
        if faults:
            told.append(f"left out: {len(faults):,} images whose mask cannot be read, such as {faults[0]}")
        return items, (*notes, *told)

    return read


def _boxed(item: Item, boxes: Sequence[Corners]) -> Item:
    """The image with its boxes in place of the mask; each region is a lesion of its own."""
    name = Path(item.path).name
    return replace(
        item,
        mask=None,
        mask_encoding=None,
        boxes=tuple(TrueBox(corners=corners, label="polyp", lesion=f"{name} {number}") for number, corners in enumerate(boxes)),
    )


def _task(source: Task) -> Task:
    return replace(
        source, name=f"{source.name}_boxes", data=f"{source.data}, as boxes of connected regions", read=_reader(source), kind="detection"
    )


KVASIR_SEG_BOXES, CVC_CLINICDB_BOXES = _task(KVASIR_SEG), _task(CVC_CLINICDB)
