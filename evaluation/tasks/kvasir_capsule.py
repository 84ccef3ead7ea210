"""Kvasir-Capsule's findings: the 11 classes of its two official folds, by video.

The download has 14 class folders, whose names differ from those of the lists; the lists leave out three with 77 images. Seven videos
stand in both folds, 5,052 images of one and 2,892 of the other, so training on one fold and testing on the other leaks. Eight frames
have two labels.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from evaluation.tasks.class_folders import find_class_folders, image_names, plain
from evaluation.tasks.expected import Expected
from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.readers import read_rows
from evaluation.tasks.split_protocol import SplitProtocol
from evaluation.tasks.task import Reading, Task

__all__ = ["KVASIR_CAPSULE"]

COUNTS = {
    "Angiectasia": 866,
    "Blood": 446,
    "Erosion": 506,
    "Erythematous": 159,
    "Foreign Bodies": 776,
    "Ileo-cecal valve": 4189,
    "Lymphangiectasia": 592,
    "Normal": 34338,
    "Pylorus": 1529,
    "Reduced Mucosal View": 2906,
    "Ulcer": 854,
}
FOLDERS = {
    "Blood - fresh": "Blood",
    "Erythema": "Erythematous",
    "Foreign body": "Foreign Bodies",
    "Normal clean mucosa": "Normal",
}
"""Names of folders that differ from those of the lists by more than spelling."""


def _read(data: Path) -> Reading:
    folders = find_class_folders(data, COUNTS, FOLDERS)
    items = [
        Item(path=path, label=label, split="", group=f"video {os.path.basename(path).rpartition('_')[0]}")
        for folder, label in folders
        for path in image_names(folder)
    ]
    if not items:
        raise TaskError(f"task kvasir_capsule: no class folder such as 'Angiectasia' under {data}; give the folder of labelled_images")
    return items, ()


def _table(data: Path, fold: int) -> Path | None:
    return next(iter(sorted(data.rglob(f"split_{fold}.csv"))), None)


def _official(data: Path, items: list[Item], fold: int) -> Reading:
    """One fold is tested, the other trained on."""
    listed = {}
    for number in (0, 1):
        table = _table(data, number)
        assert table is not None
        rows, _ = read_rows(table)
        listed.update({(plain(row["label"]), row["filename"]): "test" if number == fold else "train" for row in rows})
    joined = [(item, listed.get((plain(str(item.label)), os.path.basename(item.path)))) for item in items]
    divided = [replace(item, split=split) for item, split in joined if split is not None]
    left = len(items) - len(divided)
    return divided, (f"{left} images are not in the official lists and are left out",) if left else ()


KVASIR_CAPSULE = Task(
    name="kvasir_capsule",
    data="Kvasir-Capsule: findings of the small bowel",
    read=_read,
    kind="classification",
    splits=(
        SplitProtocol(
            name="two_fold",
            source="Kvasir-Capsule's official folds, one trained on, one tested",
            divide=_official,
            num_folds=2,
            leak="7 videos stand in both official folds, with 5,052 images of fold 0 and 2,892 of fold 1",
            is_there=lambda data: _table(data, 0) is not None and _table(data, 1) is not None,
            needs="split_0.csv and split_1.csv (official_splits in github.com/simula/kvasir-capsule)",
        ),
    ),
    expected=Expected(counts=COUNTS),
)
