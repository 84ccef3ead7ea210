"""A labelled evaluation set as frozen records, its checks and its content id."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from evaluation.config import TaskKind
from evaluation.tasks.protocol import PROTOCOLS, Protocol
from warehouse.store import content_id, file_sha256

__all__ = ["SPLITS", "Fingerprint", "Item", "TaskData", "TaskError", "fingerprint"]

SPLITS = ("train", "val", "test")


class TaskError(ValueError):
    """An evaluation set that cannot be used; the message says what is wrong with it and what to do."""


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
    box: tuple[int, int, int, int] | None = None
    """x, y, width, height of the crop in image pixels"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """An evaluation set: items in a fixed order, classes in class-index order (worst grade last where ordinal)."""

    name: str
    kind: TaskKind
    items: tuple[Item, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """how splits were made where the data did not give them"""
    own_protocol: Protocol | None = None
    """of a task that is scored otherwise than its kind"""

    @property
    def protocol(self) -> Protocol:
        """Heads, metrics and primary metric."""
        return self.own_protocol or PROTOCOLS[self.kind]

    def split(self, name: str) -> tuple[Item, ...]:
        """The items of one split, in order."""
        return tuple(item for item in self.items if item.split == name)

    def leaks(self) -> tuple[str, ...]:
        """Warnings about groups that stand in several splits; each one sentence."""
        return _leaks(self.name, "groups", "leak: patients or sequences that the model's head is trained on are also scored", self.items)

    def validate(self) -> tuple[str, ...]:
        """Warnings about this set, leaks first; each one sentence.

        Raises:
            TaskError: files are missing, a split is empty, or a class has no training image.
        """
        _check_files(self)
        for split in SPLITS:
            if not self.split(split):
                raise TaskError(
                    f"task {self.name}: the {split} split is empty ({len(self.items)} items in all); add labelled images, "
                    "or remove the split column to have groups divided by chance"
                )
        warnings = self.leaks()
        if self.kind != "segmentation":
            for split, consequence in (("train", None), ("val", "is never chosen for"), ("test", "is not scored")):
                absent = sorted(set(self.classes) - {str(item.label) for item in self.split(split)})
                if absent and consequence is None:
                    raise TaskError(f"task {self.name}: no training image of class {_some(absent)}; add some or remove the class")
                if absent:
                    warnings = (*warnings, f"no {split} image of class {_some(absent)}, which therefore {consequence}")
        return warnings


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a task's files contain."""

    data_id: str
    """SHA-256 over every item's content hash, label, mask, box, split and group, in order"""
    leaks: tuple[str, ...]
    """warnings about byte-identical images in several splits"""
    hashes: tuple[str, ...] = ()
    """SHA-256 of each item's file, in the items' order"""


def fingerprint(task: TaskData, *, num_workers: int = 2) -> Fingerprint:
    """Hash the files of a task; equal sets have equal ids wherever they lie on disk.

    Raises:
        TaskError: files are missing.
    """
    _check_files(task)
    paths = sorted({p for item in task.items for p in (item.path, item.mask) if p is not None})
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
        )
        for item in task.items
    ]
    leaks = _leaks(
        task.name, "images", "leak: byte-identical images stand in several splits", task.items, key=lambda item: hashes[item.path]
    )
    return Fingerprint(content_id([task.kind, task.classes, rows]), leaks, tuple(hashes[item.path] for item in task.items))


def _check_files(task: TaskData) -> None:
    missing = sorted({p for item in task.items for p in (item.path, item.mask) if p is not None and not os.path.isfile(p)})
    if missing:
        raise TaskError(
            f"task {task.name}: {len(missing)} files named by its {len(task.items)} items do not exist ({_some(missing)}); "
            "correct the paths or the data folder"
        )


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
    return (f"{sentence} ({len(shared)} of {len(splits)} {things} of {name}, such as {_some(shared)})",)


def _some(values: list[str], limit: int = 3) -> str:
    """The first few values, and how many more there are."""
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return ", ".join(repr(v) for v in values[:limit]) + more
