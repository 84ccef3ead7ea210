"""Masks of polyps from one data set to another: trained on the whole of one, tested on the whole of the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.tasks import cvc_clinicdb, kvasir_seg
from evaluation.tasks.cvc_clinicdb import CVC_CLINICDB
from evaluation.tasks.expected import Expected
from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.kvasir_seg import KVASIR_SEG
from evaluation.tasks.task import Reading, Task

__all__ = ["CVC_TO_KVASIR_SEG", "KVASIR_SEG_TO_CVC"]


def _across(name: str, source: Task, target: Task) -> Callable[[Path], Reading]:
    def read(data: Path) -> Reading:
        items: list[Item] = []
        notes: tuple[str, ...] = (f"trained on {source.name} alone, tested on all of {target.name}",)
        for task, split in ((source, "train"), (target, "test")):
            try:
                found, more = task.read(_root(task, data))
            except TaskError as error:
                raise TaskError(f"task {name}: {error}") from error
            items += [replace(item, split=split, group=_group(task, item)) for item in found]
            notes = (*notes, *(f"{task.name}: {note}" for note in more))
        return items, notes

    return read


def _group(task: Task, item: Item) -> str:
    return item.group if item.group == item.path else f"{task.name} {item.group}"  # a path says that no patient is named


def _root(task: Task, data: Path) -> Path:
    """The folder of one of the two sets, so that images and masks of the other are not taken for its own."""
    names = {"kvasir_seg": ("kvasir_seg", "Kvasir-SEG"), "cvc_clinicdb": ("cvc_clinicdb", "CVC-ClinicDB")}[task.name]
    return next((data / name for name in names if (data / name).is_dir()), data)


def _by_split(items: Sequence[Item]) -> Mapping[str, int]:
    return Counter({"train": "images to train on", "test": "images to test on"}[item.split] for item in items)


def _task(name: str, source: Task, target: Task, num_source: int, num_target: int) -> Task:
    return Task(
        name=name,
        data=f"{source.name} to train on, {target.name} to test on",
        read=_across(name, source, target),
        kind="segmentation",
        has_made_folds=False,
        expected=Expected(counts={"images to train on": num_source, "images to test on": num_target}, tally=_by_split),
    )


KVASIR_SEG_TO_CVC = _task("kvasir_seg_to_cvc", KVASIR_SEG, CVC_CLINICDB, kvasir_seg.NUM_IMAGES, cvc_clinicdb.NUM_FRAMES)
CVC_TO_KVASIR_SEG = _task("cvc_to_kvasir_seg", CVC_CLINICDB, KVASIR_SEG, cvc_clinicdb.NUM_FRAMES, kvasir_seg.NUM_IMAGES)
