"""LIMUC's Mayo scores of ulcerative colitis, by patient.

Eight file names stand in two grades each, so lists are joined by grade and file name. The ten folds are independent draws of patients,
not a partition: 320 of the patients are validated on in some fold. All ten are tested on one test set. The fold lists (fold_0_val.json
and so on) lie in github.com/GorkemP/labeled-images-for-ulcerative-colitis, under the MIT licence.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.tasks.binary_cut import BinaryCut
from evaluation.tasks.expected import Expected
from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.readers import image_files
from evaluation.tasks.split_protocol import SplitProtocol
from evaluation.tasks.task import Reading, Task

__all__ = ["LIMUC"]


def _limuc(data: Path) -> Reading:
    roots = sorted(path for path in data.rglob("train_and_validation_sets") if path.is_dir())
    if not roots or not (roots[0].parent / "test_set").is_dir():
        raise TaskError(f"task limuc: no folders train_and_validation_sets and test_set under {data}; give the folder of the publication")
    items = []
    for folder, split in ((roots[0], "train"), (roots[0].parent / "test_set", "test")):
        for path in image_files(folder):
            patient = re.match(r"UC_patient_(\d+)_", path.name)
            group = f"patient {patient[1]}" if patient else str(path)
            items.append(Item(path=str(path), label=path.relative_to(folder).parts[0], split=split, group=group))
    return items, ()


def _folds(data: Path, items: list[Item], fold: int) -> Reading:
    """The validation patients of one fold; the test set is the same for all."""
    table = _lists(data).get(f"fold_{fold}_val.json")
    if table is None:
        raise TaskError(f"task limuc: fold_{fold}_val.json is not under {data}; put the published fold lists there")
    listed = {(label, name) for label, names in json.loads(table.read_text()).items() for name in names}
    divided = [
        replace(item, split="val") if item.split == "train" and (str(item.label), Path(item.path).name) in listed else item
        for item in items
    ]
    return divided, (f"validation patients: official fold {fold}",)


def _lists(data: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(data.rglob("fold_*_val.json"), reverse=True)}


def _has_lists(data: Path) -> bool:
    return "fold_0_val.json" in _lists(data)


def _parts(items: Sequence[Item]) -> Mapping[str, int]:
    return Counter("test images" if item.split == "test" else str(item.label) for item in items)


LIMUC = Task(
    name="limuc",
    data="LIMUC: Mayo scores of ulcerative colitis",
    read=_limuc,
    kind="ordinal",
    splits=(
        SplitProtocol(
            name="ten_folds",
            source="LIMUC's ten official folds, each tested on its test set",
            divide=_folds,
            num_folds=10,
            is_there=_has_lists,
            needs="fold_0_val.json to fold_9_val.json (github.com/GorkemP/labeled-images-for-ulcerative-colitis)",
        ),
    ),
    expected=Expected(counts={"Mayo 0": 5180, "Mayo 1": 2588, "Mayo 2": 1077, "Mayo 3": 745, "test images": 1686}, tally=_parts),
    cut=BinaryCut(name="no remission", positive=("Mayo 2", "Mayo 3")),
)
