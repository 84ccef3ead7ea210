"""A folder or table of labelled images as an evaluation set, read by its layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from evaluation.config import TaskKind
from evaluation.tasks.items import Item, TaskData, TaskError
from evaluation.tasks.protocol import Protocol
from evaluation.tasks.readers import classes_of, kind_of, read_class_folders, read_label_csv, read_mask_folders
from evaluation.tasks.split_protocol import CLEAN, MADE, choose_split
from evaluation.tasks.splits import complete_splits

__all__ = ["read_task", "task_data", "without_splits"]


def read_task(
    data: Path,
    *,
    name: str | None = None,
    labels: Path | None = None,
    kind: Literal["auto"] | TaskKind | None = None,
    val_share: float = 0.2,
    protocol: str = CLEAN,
    fold: int | None = None,
) -> TaskData:
    """Read a folder of class folders, a folder with labels.csv, a CSV, or a folder of images/ and masks/ (with split.csv or without).

    Args:
        data: the folder, or the CSV whose image paths are relative to its own folder.
        name: of the task; the folder's name where not given.
        labels: a CSV elsewhere, whose image paths are relative to `data`.
        kind: what the labels are; found from them where not given.
        val_share: share of the training groups that becomes a validation split which the data does not name.
        protocol: clean for the data's own splits, made for folds over all images whatever splits the data names.
        fold: which fold is tested, if the data names no test split.

    Raises:
        TaskError: nothing usable is there, or a row is wrong.
    """
    data = Path(data).absolute()
    if not data.exists():
        raise TaskError(f"evaluation data {data} does not exist; give a folder or a CSV file")
    if data.is_file():
        labels, data = data, data.parent
    if labels is not None:
        items = read_label_csv(Path(labels), data)
    elif (data / "labels.csv").is_file():
        items = read_label_csv(data / "labels.csv", data)
    elif (data / "images").is_dir() and (data / "masks").is_dir():
        table = data / "split.csv"
        items = read_mask_folders(data, table if table.is_file() else None)
    else:
        items = read_class_folders(data)
    name = name or data.name or "task"
    choose_split(name, (), protocol, data)
    return task_data(name, without_splits(items) if protocol == MADE else items, kind=kind, val_share=val_share, fold=fold)


def without_splits(items: list[Item]) -> list[Item]:
    """Items as if the data named no split."""
    return [replace(item, split="") for item in items]


def task_data(
    name: str,
    items: list[Item],
    *,
    kind: Literal["auto"] | TaskKind | None,
    val_share: float,
    fold: int | None = None,
    notes: tuple[str, ...] = (),
    protocol: Protocol | None = None,
) -> TaskData:
    """Items as an evaluation set, every one with a split.

    Raises:
        TaskError: the labels are not of that kind, are all the same, or leave no split.
    """
    if not items:
        raise TaskError(f"task {name} has no labelled image; give the folder that holds them")
    found = kind_of(items)
    wanted = found if kind is None or kind == "auto" else kind
    if (wanted == "segmentation") != (found == "segmentation"):
        raise TaskError(f"task {name} was asked for as {wanted}, but its labels are {'masks' if found == 'segmentation' else 'classes'}")
    classes = ("background", "foreground") if found == "segmentation" else classes_of(items)
    if len(classes) < 2:
        raise TaskError(f"task {name} has one class ({classes[0]!r}); a score needs at least two")
    try:
        completed = complete_splits(items, val_share=val_share, fold=fold)
    except TaskError as error:
        raise TaskError(f"task {name}: {error}") from error
    return TaskData(
        name=name,
        kind=wanted,
        items=completed.items,
        classes=classes,
        notes=(*notes, *completed.notes),
        own_protocol=protocol,
        split_protocol=f"made: {completed.num_folds} folds of groups, made here" if completed.num_folds > 1 else "",
        fold=(fold or 0) if completed.num_folds > 1 else None,
        num_folds=completed.num_folds,
    )
