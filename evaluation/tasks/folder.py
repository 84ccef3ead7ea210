"""A folder or table of labelled images as an evaluation set, read by its layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from evaluation.config import TaskKind
from evaluation.tasks.group_names import one_name_each
from evaluation.tasks.items import Item, TaskData, TaskError
from evaluation.tasks.labels import classes_of, grade_notes, kind_of, one_spelling, ordered, unrepeated
from evaluation.tasks.layout import check_data, refuse_half_known
from evaluation.tasks.protocol import Protocol
from evaluation.tasks.readers import label_table, mask_folders, read_class_folders
from evaluation.tasks.split_protocol import CLEAN, MADE, choose_split
from evaluation.tasks.splits import PartsOf, complete_splits, made_parts
from evaluation.tasks.stored_splits import SplitStore
from evaluation.tasks.task import NO_PATIENTS

__all__ = ["PATIENTS_UNKNOWN", "read_task", "task_data", "without_splits"]

PATIENTS_UNKNOWN = "patients unknown: the data names none, so frames of one patient may stand in several splits"
"""Note on a set whose images are groups of their own."""

_LABELS = {"segmentation": "masks", "detection": "boxes"}


def read_task(
    data: Path,
    *,
    name: str | None = None,
    labels: Path | None = None,
    kind: Literal["auto"] | TaskKind | None = None,
    order: Sequence[str] = (),
    val_share: float = 0.2,
    protocol: str = CLEAN,
    fold: int | None = None,
    stored: SplitStore | None = None,
) -> TaskData:
    """Read a folder of class folders, a folder with labels.csv, a CSV, or a folder of images/ and masks/ (with split.csv or without).

    Args:
        data: the folder, or the CSV whose image paths are relative to its own folder.
        name: of the task; the folder's name where not given.
        labels: a CSV elsewhere, whose image paths are relative to `data`.
        kind: what the labels are; found from them where not given.
        order: ordinal classes from best to worst, if their names have no numbers that say it.
        val_share: share of the training groups that becomes a validation split which the data does not name.
        protocol: clean for the data's own splits, made for folds over all images whatever splits the data names.
        fold: which fold is tested, if the data names no test split.
        stored: where splits that are made here are kept; nowhere unless given.

    Raises:
        TaskError: nothing usable is there, a row is wrong, or the folder looks like the data of a known task.
    """
    data = Path(data).absolute()
    check_data(data)
    if data.is_file():
        labels, data = data, data.parent
    notes: tuple[str, ...] = ()
    if labels is not None:
        items, notes = label_table(Path(labels), data)
    elif (data / "labels.csv").is_file():
        items, notes = label_table(data / "labels.csv", data)
    elif (data / "images").is_dir() and (data / "masks").is_dir():
        table = data / "split.csv"
        items, notes = mask_folders(data, table if table.is_file() else None)
    else:
        refuse_half_known(data)
        items = read_class_folders(data)
    name = name or data.name or "task"
    choose_split(name, (), protocol, data)
    items = without_splits(items) if protocol == MADE else items
    return task_data(name, items, kind=kind, order=order, val_share=val_share, fold=fold, notes=notes, stored=stored)


def without_splits(items: list[Item]) -> list[Item]:
    """Items as if the data named no split."""
    return [replace(item, split="") for item in items]


def task_data(
    name: str,
    items: list[Item],
    *,
    kind: Literal["auto"] | TaskKind | None,
    order: Sequence[str] = (),
    val_share: float,
    fold: int | None = None,
    notes: tuple[str, ...] = (),
    protocol: Protocol | None = None,
    stored: SplitStore | None = None,
    division: str = "",
) -> TaskData:
    """Items as an evaluation set, every one with a split, its label in one spelling, and the encoding of its mask.

    Splits that are made here are read from `stored` and kept there; `division` names what the items are divided by already.

    Raises:
        TaskError: the labels are not of that kind, are all the same, have no known order, or leave no split; or the masks are unusable.
    """
    if not items:
        raise TaskError(f"task {name} has no labelled image; give the folder that holds them")
    items, respelled = one_spelling(items)
    items, joined = one_name_each(items)
    items, repeated = unrepeated(items)
    found = kind_of(items)
    asked = "ordinal" if order and kind in (None, "auto") else kind
    wanted = found if asked is None or asked == "auto" else asked
    if wanted != found and {wanted, found} & {"segmentation", "detection"}:
        raise TaskError(f"task {name} was asked for as {wanted}, but its labels are {_LABELS.get(found, 'classes')}")
    classes = ("background", "foreground") if found == "segmentation" else classes_of(items)
    if found == "detection" and not classes:
        raise TaskError(f"task {name}: none of {len(items):,} frames has a box; a score needs some")
    if len(classes) < 2 and found != "detection":
        raise TaskError(f"task {name} has one class ({classes[0]!r}); a score needs at least two")
    if wanted == "segmentation":
        from evaluation.tasks.masks import learn_masks  # Pillow, which an installation for questions alone has not

        items, learned = learn_masks(items)
    elif found == "detection":
        learned = ()
    else:
        classes = ordered(name, classes, order, kind=wanted)
        learned = grade_notes(classes, order, was_asked=asked in ("ordinal", "classification")) if wanted == "ordinal" else ()
    try:
        parts_of = _kept(stored, name, division) if stored else None
        completed = complete_splits(items, val_share=val_share, fold=fold, parts_of=parts_of)
    except TaskError as error:
        raise TaskError(f"task {name}: {error}") from error
    kept = stored.notes() if stored else ()
    told = (*notes, *learned, *respelled, *joined, *repeated, *completed.notes, *kept, *_patients(items, notes))
    where = f"stored as {stored.name!r}" if stored and stored.used else "made here"
    return TaskData(
        name=name,
        kind=wanted,
        items=completed.items,
        classes=classes,
        notes=told,
        own_protocol=protocol,
        split_protocol=f"made: {completed.num_folds} folds of groups, {where}" if completed.num_folds > 1 else "",
        fold=(fold or 0) if completed.num_folds > 1 else None,
        num_folds=completed.num_folds,
    )


def _kept(stored: SplitStore, name: str, division: str) -> PartsOf:
    def parts_of(items: list[Item], split: str, num_parts: int, fold: int | None) -> list[list[int]]:
        told = split if split == "test" else f"{split}-{num_parts}" + (f"-fold-{fold}" if fold is not None else "")
        return stored.parts(name, items, split, "-".join(part for part in (division, told) if part), num_parts, made_parts)

    return parts_of


def _patients(items: list[Item], notes: tuple[str, ...]) -> tuple[str, ...]:
    alone = sum(item.group == item.path for item in items)
    if alone == 0 or NO_PATIENTS in notes:
        return ()
    if alone == len(items):
        return (PATIENTS_UNKNOWN,)
    return (f"patients unknown for {alone:,} of {len(items):,} items: each of their images counts as a patient of its own",)
