"""HyperKvasir's six anatomical landmarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evaluation.tasks.items import TaskError
from evaluation.tasks.readers import read_class_folders, read_rows
from evaluation.tasks.task import NO_PATIENTS, Reading, Task

__all__ = ["HYPERKVASIR_LANDMARKS"]


def _hyperkvasir_landmarks(data: Path) -> Reading:
    """HyperKvasir's six anatomical landmarks; the official five-fold list (fold 3 val, fold 4 test) where it is there."""
    folders = sorted(path for path in data.rglob("anatomical-landmarks") if path.is_dir())
    if not folders:
        raise TaskError(f"task hyperkvasir_landmarks: no folder anatomical-landmarks under {data}; give the folder of labeled-images")
    items = [item for folder in folders for item in read_class_folders(folder)]
    tables = sorted(data.rglob("5_fold_split.csv"))
    if not tables:
        return items, (NO_PATIENTS,)
    rows, _ = read_rows(tables[0])
    splits = {"0": "train", "1": "train", "2": "train", "3": "val", "4": "test"}
    listed = {(row["file-name"], row["class-name"]): splits[row["split-index"]] for row in rows}
    kept = [(item, listed.get((Path(item.path).name, str(item.label)))) for item in items]
    unlisted = sum(split is None for _, split in kept)
    notes: tuple[str, ...] = (NO_PATIENTS, "official five folds: 0-2 train, 3 val, 4 test")
    if unlisted:
        notes = (*notes, f"{unlisted} images are not in the official list and are left out")
    return [replace(item, split=split) for item, split in kept if split is not None], notes


HYPERKVASIR_LANDMARKS = Task(
    name="hyperkvasir_landmarks", data="HyperKvasir's landmarks", read=_hyperkvasir_landmarks, kind="classification"
)
