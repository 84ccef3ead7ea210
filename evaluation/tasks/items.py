"""A labelled evaluation set as frozen records, its checks and its content id."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluation.config import TaskKind
from evaluation.tasks.binary_cut import BinaryCut
from evaluation.tasks.protocol import PROTOCOLS, Protocol
from warehouse.store import content_id, file_sha256

__all__ = [
    "SPLITS",
    "SUBGROUPS",
    "Fingerprint",
    "Item",
    "MaskEncoding",
    "Plane",
    "TaskData",
    "TaskError",
    "TrueBox",
    "files_of",
    "fingerprint",
]

SPLITS = ("train", "val", "test")

SUBGROUPS = ("device", "site")
"""what of an item the data may name, by which its scores are told apart"""

Plane = Literal["grey", "colour", "colour on white", "alpha"]
"""What of a mask says foreground: grey values, the distance from black or from white, or how opaque a pixel is."""


class TaskError(ValueError):
    """An evaluation set that cannot be used; the message says what is wrong with it and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskEncoding:
    """How a mask file says foreground: a value above a threshold, in one of its planes."""

    plane: Plane = "grey"
    threshold: float = 127.0
    """foreground is above it"""
    orientation: int = 1
    """EXIF orientation of the image, of a mask that was drawn on the unturned picture; 1 where the mask is upright"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueBox:
    """One object of a frame, as a person marked it."""

    corners: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the upright image, from its left upper corner; x2 > x1 and y2 > y1"""
    label: str
    """class name"""
    lesion: str
    """which lesion it shows, in whichever frame: equal for all its boxes"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One labelled image, or one labelled crop of an image."""

    path: str
    """absolute path of the image"""
    split: str
    """train, val or test"""
    group: str
    """patient, procedure or sequence; the image's own path where the data names none, so that crops of one image stay together"""
    label: str | None = None
    """class name; None for segmentation"""
    mask: str | None = None
    """absolute path of the mask; None unless segmentation"""
    mask_encoding: MaskEncoding | None = None
    """learned from all masks of the set; None is 0 and 255"""
    box: tuple[int, int, int, int] | None = None
    """x, y, width, height of the crop in pixels of the upright image"""
    device: str = ""
    """endoscope or processor, as the data names it; empty if it does not"""
    site: str = ""
    """hospital or centre, as the data names it"""
    boxes: tuple[TrueBox, ...] | None = None
    """all objects of a frame, of which there may be none; None unless detection"""
    span: tuple[float, float] | None = None
    """start and end in seconds of a clip since the first frame of its video, which `path` names; None for an image"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """An evaluation set: items in a fixed order, classes in class-index order (worst grade last where ordinal)."""

    name: str
    kind: TaskKind
    items: tuple[Item, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """what was found in the data, and what was made because it names none, such as splits"""
    unreadable: tuple[str, ...] = ()
    """images that were left out because they cannot be read, each with the reason"""
    own_protocol: Protocol | None = None
    """of a task that is scored otherwise than its kind"""
    split_protocol: str = ""
    """name and source of the division into splits; empty for the data's own splits and for those made here"""
    known_leak: str = ""
    """what the test split of that division shares with its training split, as its readers found"""
    fold: int | None = None
    """number of the fold from 0; None if there is one division only"""
    num_folds: int = 1
    """folds of the division"""
    are_patients: bool = True
    """whether groups are patients, or videos or sequences of one; not so if they are centres"""
    cut: BinaryCut | None = None
    """yes-or-no question that the grades answer as well"""
    count_difference: str = ""
    """counts that differ from the published ones"""
    is_other_set: bool = False
    """whether they differ so much that a score would not be of the published set"""
    frames_per_s: float | None = None
    """frames a second of its videos, as they are read; None for stills"""
    frame_rate_source: str = ""
    """where that rate is from: the data, or an assumption"""
    clip_windows: int = 1
    """windows of a clip whose logits are averaged"""

    @property
    def protocol(self) -> Protocol:
        """Heads, metrics and primary metric."""
        return self.own_protocol or PROTOCOLS[self.kind]

    @property
    def has_clips(self) -> bool:
        """Whether its items are clips of videos."""
        return any(item.span is not None for item in self.items)

    @property
    def unit(self) -> str:
        """What its items are, in the plural: clips, frames of videos, or images."""
        return "clips" if self.has_clips else "frames" if self.frames_per_s is not None else "images"

    def split(self, name: str) -> tuple[Item, ...]:
        """The items of one split, in order."""
        return tuple(item for item in self.items if item.split == name)

    def leaks(self) -> tuple[str, ...]:
        """Warnings about groups that stand in several splits, or leaks that are known of the division; each one sentence."""
        found = _leaks(self.name, "groups", "leak: patients or sequences that the model's head is trained on are also scored", self.items)
        return (*found, *((f"leak: {self.known_leak}",) if self.known_leak else ()))

    def validate(self) -> tuple[str, ...]:
        """Warnings about this set, leaks first; each one sentence.

        Raises:
            TaskError: files are missing, the set is not the published one, a split is empty, or a class has no training image.
        """
        if self.is_other_set:
            own = "" if self.kind == "detection" else ", or lay these out as a set of your own for --task auto"
            raise TaskError(
                f"task {self.name}: the images are not those of the publication ({self.count_difference}); complete the download{own}"
            )
        files_of(self)
        for split in SPLITS:
            if not self.split(split):
                raise TaskError(
                    f"task {self.name}: the {split} split is empty ({len(self.items)} items in all); add labelled {self.unit}, "
                    "or remove the split column to have groups divided by chance"
                )
        warnings = self.leaks()
        if self.count_difference:
            warnings = (*warnings, f"counts differ from the publication: {self.count_difference}")
        if self.kind != "segmentation":
            item = self.unit[:-1]
            for split, consequence in (("train", None), ("val", "is never chosen for"), ("test", "is not scored")):
                absent = sorted(set(self.classes) - {label for one in self.split(split) for label in _labels(one)})
                if absent and consequence is None:
                    raise TaskError(f"task {self.name}: no training {item} of class {_some(absent)}; add some or remove the class")
                if absent:
                    warnings = (*warnings, f"no {split} {item} of class {_some(absent)}, which therefore {consequence}")
        return warnings


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a task's files contain."""

    data_id: str
    """SHA-256 over every item's content hash, label, mask, boxes, split, group, device and site, in order, and the frame rate"""
    leaks: tuple[str, ...]
    """warnings about byte-identical images in several splits"""
    images_id: str
    """SHA-256 over every item's content hash and box, in order: equal for all folds of one set, whose features are computed once"""
    hashes: tuple[str, ...] = ()
    """SHA-256 of each item's file, in the items' order"""


def fingerprint(task: TaskData, *, num_workers: int = 2, hashes: Mapping[str, str] | None = None) -> Fingerprint:
    """Hash the files of a task; equal sets have equal ids wherever they lie on disk.

    Args:
        task: whose files are hashed.
        num_workers: threads that read them.
        hashes: SHA-256 of each file by path, if they are known already.

    Raises:
        TaskError: files are missing.
    """
    if hashes is None:
        paths = files_of(task)
        with ThreadPoolExecutor(num_workers) as pool:
            hashes = dict(zip(paths, pool.map(lambda p: file_sha256(Path(p)), paths), strict=True))
    groups: dict[str, int] = {}  # a group that is a path would tie the id to a place on disk
    rows = [
        (
            hashes[item.path],
            hashes[item.mask] if item.mask is not None else None,
            item.label,
            item.box,
            item.split,
            groups.setdefault(item.group, len(groups)),
            *(() if item.boxes is None else ([(box.corners, box.label, box.lesion) for box in item.boxes],)),
            *([item.span] if item.span is not None else []),
            *([(item.device, item.site)] if item.device or item.site else []),
        )
        for item in task.items
    ]
    leaks = _leaks(
        task.name, "images", "leak: byte-identical images stand in several splits", task.items, key=lambda item: hashes[item.path]
    )
    images = [(hashes[item.path], item.box, *([item.span] if item.span is not None else [])) for item in task.items]
    in_order = tuple(hashes[item.path] for item in task.items)
    rate = [task.frames_per_s] if task.frames_per_s is not None else []
    return Fingerprint(content_id([task.kind, task.classes, rows, *rate]), leaks, content_id(images), in_order)


def files_of(task: TaskData) -> list[str]:
    """Paths of all images and masks, sorted.

    Raises:
        TaskError: some are missing.
    """
    paths = sorted({p for item in task.items for p in (item.path, item.mask) if p is not None})
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise TaskError(
            f"task {task.name}: {len(missing)} files named by its {len(task.items)} items do not exist ({_some(missing)}); "
            "correct the paths or the data folder"
        )
    return paths


def _labels(item: Item) -> tuple[str, ...]:
    """The classes that an image shows."""
    return (str(item.label),) if item.boxes is None else tuple(box.label for box in item.boxes)


def _leaks(
    name: str, things: str, sentence: str, items: Iterable[Item], key: Callable[[Item], str] = lambda item: item.group
) -> tuple[str, ...]:
    """One warning where a key occurs in more than one split."""
    splits: dict[str, set[str]] = defaultdict(set)
    for item in items:
        splits[key(item)].add(item.split)
    shared = sorted(k for k, found in splits.items() if len(found) > 1)
    if not shared:
        return ()
    return (f"{sentence} ({len(shared)} of {len(splits)} {things} of {name}; `endoforge check-data` lists them)",)


def _some(values: list[str], limit: int = 3) -> str:
    """The first few values, and how many more there are."""
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return ", ".join(repr(v) for v in values[:limit]) + more
