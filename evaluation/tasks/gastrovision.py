"""GastroVision's findings and landmarks: the 22 classes of its published lists.

The download has 27 class folders with 8,000 images; the lists (`Split` in github.com/DebeshJha/GastroVision) leave out the classes with
few. File names repeat over classes: 14 stand in two splits, each time with another class and another picture. So lists are joined by
class and name.
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
from evaluation.tasks.task import NO_PATIENTS, Reading, Task

__all__ = ["GASTROVISION"]

COUNTS = {
    "Accessory tools": 1266,
    "Barrett's esophagus": 95,
    "Blood in lumen": 171,
    "Cecum": 113,
    "Colon diverticula": 29,
    "Colon polyps": 820,
    "Colorectal cancer": 139,
    "Duodenal bulb": 205,
    "Dyed-lifted-polyps": 141,
    "Dyed-resection-margins": 246,
    "Esophagitis": 107,
    "Gastric polyps": 65,
    "Gastroesophageal_junction_normal z-line": 330,
    "Ileocecal valve": 200,
    "Mucosal inflammation large bowel": 29,
    "Normal esophagus": 140,
    "Normal mucosa and vascular pattern in the large bowel": 1467,
    "Normal stomach": 969,
    "Pylorus": 393,
    "Resected polyps": 92,
    "Retroflex rectum": 67,
    "Small bowel_terminal ileum": 846,
}

LISTS = {"train.csv": "train", "validate.csv": "val", "test.csv": "test"}


def _read(data: Path) -> Reading:
    folders = find_class_folders(data, COUNTS)
    items = [Item(path=path, label=label, split="", group=path) for folder, label in folders for path in image_names(folder)]
    if not items:
        raise TaskError(f"task gastrovision: no class folder such as 'Colon polyps' under {data}; give the folder of the download")
    return items, (NO_PATIENTS,)


def _lists(data: Path) -> Path | None:
    """The folder that has all three lists."""
    found = (path.parent for path in sorted(data.rglob("validate.csv")))
    return next((folder for folder in found if all((folder / name).is_file() for name in LISTS)), None)


def _official(data: Path, items: list[Item], __: int) -> Reading:
    folder = _lists(data)
    assert folder is not None
    splits = {}
    for name, split in LISTS.items():
        rows = read_rows(folder / name)[0]
        splits.update({(plain(row["Class"]), row["Filename"]): split for row in rows})
    joined = [(item, splits.get((plain(str(item.label)), os.path.basename(item.path)))) for item in items]
    divided = [replace(item, split=split) for item, split in joined if split is not None]
    left = len(items) - len(divided)
    return divided, (f"{left} images are not in the official lists and are left out",) if left else ()


GASTROVISION = Task(
    name="gastrovision",
    data="GastroVision: findings and landmarks",
    read=_read,
    kind="classification",
    splits=(
        SplitProtocol(
            name="official",
            source="GastroVision's published lists",
            divide=_official,
            is_there=lambda data: _lists(data) is not None,
            needs="train.csv, validate.csv and test.csv (Split in github.com/DebeshJha/GastroVision)",
        ),
    ),
    expected=Expected(counts=COUNTS),
)
