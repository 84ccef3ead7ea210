"""LIMUC's Mayo scores of ulcerative colitis, by patient."""

from __future__ import annotations

import json
import re
from pathlib import Path

from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.readers import image_files
from evaluation.tasks.task import Reading, Task

__all__ = ["LIMUC"]


def _limuc(data: Path) -> Reading:
    """LIMUC's Mayo scores by patient: the published test set, and fold 0's validation patients where the fold lists are there."""
    roots = sorted(path for path in data.rglob("train_and_validation_sets") if path.is_dir())
    if not roots or not (roots[0].parent / "test_set").is_dir():
        raise TaskError(f"task limuc: no folders train_and_validation_sets and test_set under {data}; give the folder of the publication")
    lists = sorted(data.rglob("fold_0_val.json"))
    val = {name for names in json.loads(lists[0].read_text()).values() for name in names} if lists else set()
    items = []
    for folder, split in ((roots[0], "train"), (roots[0].parent / "test_set", "test")):
        for path in image_files(folder):
            patient = re.match(r"UC_patient_(\d+)_", path.name)
            group = f"patient {patient[1]}" if patient else str(path)
            chosen = "val" if split == "train" and path.name in val else split
            items.append(Item(path=str(path), label=path.relative_to(folder).parts[0], split=chosen, group=group))
    return items, ("validation patients: official fold 0",) if val else ()


LIMUC = Task(name="limuc", data="LIMUC: Mayo scores of ulcerative colitis", read=_limuc, kind="ordinal")
