"""Read every file of a set once before any work: what it holds, its hash, and which images cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from evaluation.tasks.items import Fingerprint, Item, TaskData, TaskError, files_of, fingerprint
from evaluation.tasks.masks import aspect_fault
from evaluation.tasks.pixels import eight_bit, open_file, orientation, upright

__all__ = ["FileFacts", "box_fault", "boxes_inside", "look_at_files", "most_unreadable", "readable_task", "without_unreadable"]

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One image or mask file that was read and decoded whole."""

    sha256: str
    fault: str | None = None
    """why it does not decode; None if it does"""
    size: tuple[int, int] = (0, 0)
    """width and height in pixels, upright"""
    kind: str = ""
    """format and Pillow's mode, such as JPEG RGB"""
    is_turned: bool = False
    """it has an EXIF orientation other than upright"""


def readable_task(task: TaskData, *, max_unreadable: float = 0.01, num_workers: int = 2) -> tuple[TaskData, Fingerprint]:
    """The set without the images that cannot be read, and the hashes of what is left.

    Each file is read once, hashed and decoded; JPEG files are decoded at an eighth of their size, which still reads all their bytes.

    Args:
        task: the set.
        max_unreadable: share of the images that may be left out; one is always allowed, unless this is 0.
        num_workers: threads that decode.

    Raises:
        TaskError: files are missing, a crop box is outside its image, or too many images are unreadable.
    """
    facts = look_at_files(task, num_workers=num_workers)
    found = boxes_inside(without_unreadable(task, facts, max_unreadable=max_unreadable), facts)
    return found, fingerprint(found, hashes={path: one.sha256 for path, one in facts.items()})


def look_at_files(task: TaskData, *, num_workers: int = 2) -> dict[str, FileFacts]:
    """What each image and mask file of a set holds, by path.

    Raises:
        TaskError: files are missing.
    """
    paths = files_of(task)
    masks = {item.mask for item in task.items}
    with ThreadPoolExecutor(num_workers) as pool:
        return dict(zip(paths, pool.map(lambda path: _look(path, "mask" if path in masks else "image"), paths), strict=True))


def without_unreadable(task: TaskData, facts: Mapping[str, FileFacts], *, max_unreadable: float) -> TaskData:
    """The set without the images that do not decode, or whose mask does not or has another aspect.

    Raises:
        TaskError: a crop box is outside its image, or there are too many such images.
    """
    faults = {item.path: fault for item in task.items if (fault := _fault(item, facts))}
    outside = [fault for item in task.items if item.path not in faults and (fault := box_fault(item, facts[item.path].size))]
    if outside:
        raise TaskError(f"task {task.name}: {len(outside):,} crop boxes are outside their images; the first: {outside[0]}")
    if not faults:
        return task
    num_images = len({item.path for item in task.items})
    told = [fault for _, fault in sorted(faults.items())]
    first = "; ".join(told[:_SHOWN]) + (f"; and {len(told) - _SHOWN:,} more" if len(told) > _SHOWN else "")
    if len(faults) > most_unreadable(num_images, max_unreadable):
        raise TaskError(
            f"task {task.name}: {len(faults):,} of {num_images:,} images cannot be used, more than --max-unreadable {max_unreadable:g} "
            f"allows; replace or remove them ({first})"
        )
    names = sorted(Path(path).name for path in faults)  # a note is part of a score's identity, which no place on disk is
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    note = f"unreadable: {len(faults):,} of {num_images:,} images are left out ({', '.join(names[:_SHOWN])}{more})"
    kept = tuple(item for item in task.items if item.path not in faults)
    return replace(task, items=kept, notes=(*task.notes, note), unreadable=tuple(told))


def most_unreadable(num_images: int, share: float) -> int:
    """How many images may be left out: that share of them, but always one, unless the share is 0."""
    return max(1, int(share * num_images)) if share > 0 else 0


def boxes_inside(task: TaskData, facts: Mapping[str, FileFacts]) -> TaskData:
    """The set with boxes cut at the borders of their frames, and without those that lie outside."""
    if task.kind != "detection":
        return task
    items, num_cut, num_outside = [], 0, 0
    for item in task.items:
        width, height = facts[item.path].size
        boxes = []
        for box in item.boxes or ():
            x1, y1, x2, y2 = box.corners
            corners = (min(x1, width), min(y1, height), min(x2, width), min(y2, height))
            num_cut += corners != box.corners
            if corners[0] < corners[2] and corners[1] < corners[3]:
                boxes.append(replace(box, corners=corners))
            else:
                num_outside += 1
        items.append(replace(item, boxes=tuple(boxes)))
    if not num_cut:
        return task
    note = f"boxes: {num_cut:,} reach over the border of their frame and are cut there, {num_outside:,} lie outside and are left out"
    return replace(task, items=tuple(items), notes=(*task.notes, note))


def box_fault(item: Item, size: tuple[int, int]) -> str | None:
    """What is wrong with an item's crop box in an image of this width and height."""
    if item.box is None or (item.box[0] + item.box[2] <= size[0] and item.box[1] + item.box[3] <= size[1]):
        return None
    return f"crop box {item.box} is outside {item.path!r} ({size[0]}x{size[1]}); correct it"


def _look(path: str, what: str) -> FileFacts:
    data = Path(path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    try:
        with open_file(path, what, data) as image:
            kind, is_turned, size = f"{image.format} {image.mode}", orientation(image) != 1, image.size
            if image.format == "JPEG":
                image.draft(image.mode, (max(1, size[0] // 8), max(1, size[1] // 8)))
                image.load()
                width, height = size[::-1] if orientation(image) >= 5 else size
            else:
                width, height = upright(image).size
                if what == "image":
                    eight_bit(image, path)
            return FileFacts(digest, None, (width, height), kind, is_turned)
    except TaskError as error:
        return FileFacts(digest, str(error))


def _fault(item: Item, facts: Mapping[str, FileFacts]) -> str | None:
    image = facts[item.path]
    if image.fault is not None or item.mask is None:
        return image.fault
    mask = facts[item.mask]
    if mask.fault is not None:
        return mask.fault
    is_on_its_side = item.mask_encoding is not None and item.mask_encoding.orientation >= 5
    fault = aspect_fault(image.size, mask.size[::-1] if is_on_its_side else mask.size)
    return f"image {item.path!r}: {fault}" if fault else None
