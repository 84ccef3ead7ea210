"""Which labelled sets choose a run's checkpoints, and how much each counts. Free of heavy imports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluation.tasks import TaskData

__all__ = ["Validation", "ValidationTask", "check_choice", "make_validation", "read_labelled"]

_TEST = ("test", "testing", "test_set")
_OTHERS = ("train", "training", "val", "valid", "validation", "train_and_validation_sets")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationTask:
    """One labelled set; its test split is never read."""

    task: str
    """a known name, or auto"""
    data: Path
    """the folder that holds it"""
    weight: float = 1.0
    """in the mean of all sets"""
    order: tuple[str, ...] = ()
    """ordinal classes from best to worst, if their names have no numbers that say it"""
    protocol: str = "clean"
    """how its images are divided, as `evaluate --protocol` says it"""
    max_unreadable: float = 0.01
    """share of its images that may be left out because they cannot be read; one always may, unless this is 0"""
    splits: Path | None = None
    """folder of a lake's stored splits, which are read where the data names none; see evaluation/tasks/stored_splits.py"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """All labelled sets of a run. Without any, views of the run's own images choose."""

    tasks: tuple[ValidationTask, ...] = ()
    chosen_by: str | None = None
    """name of the task whose score chooses; the weighted mean of all scores if not given"""


def make_validation(
    folders: Sequence[Path],
    names: Sequence[str] = ("auto",),
    weights: Sequence[float] = (),
    chosen_by: str | None = None,
    *,
    orders: Sequence[str] = (),
    protocols: Sequence[str] = ("clean",),
    max_unreadable: float = 0.01,
) -> Validation:
    """Pair what `--validation`, `--task`, `--validation-weights` and their like say.

    Args:
        folders: one a task.
        names: as many, or auto alone for all of them.
        weights: as many, or none for equal ones.
        chosen_by: name of a task, see `Validation`.
        orders: as many, each with classes from best to worst between commas, or - for a set without; or none.
        protocols: as many, or one for all of them.
        max_unreadable: of each set, see `ValidationTask`.

    Raises:
        ValueError: numbers differ, a weight is negative or not finite, all are 0, a share is none, or a folder is a test split.
    """
    if not folders:
        if weights or chosen_by or orders:
            raise ValueError("settings of validation tasks were given without --validation; give the labelled folders there")
        return Validation()
    if tuple(names) == ("auto",):
        names = ["auto"] * len(folders)
    if len(protocols) == 1:
        protocols = [*protocols] * len(folders)
    if not 0 <= max_unreadable <= 1:
        raise ValueError(f"--validation-max-unreadable is {max_unreadable}; give a share from 0 to 1")
    options = {"--task": names, "--validation-weights": weights, "--validation-order": orders, "--validation-protocol": protocols}
    for option, values in options.items():
        if values and len(values) != len(folders):
            raise ValueError(f"{option} has {len(values)} values and --validation {len(folders)} folders; give one for each folder")
    weights = weights or [1.0] * len(folders)
    if not all(weight >= 0 and math.isfinite(weight) for weight in weights) or sum(weights) == 0:
        raise ValueError(f"--validation-weights is {' '.join(f'{weight:g}' for weight in weights)}; give numbers from 0 on, not all 0")
    for folder in folders:
        _refuse_test_split(folder)
    told = zip(names, folders, weights, orders or ["-"] * len(folders), protocols, strict=True)
    tasks = tuple(
        ValidationTask(task=name, data=Path(folder), weight=weight, order=_classes(order), protocol=protocol, max_unreadable=max_unreadable)
        for name, folder, weight, order, protocol in told
    )
    return Validation(tasks=tasks, chosen_by=chosen_by)


def _classes(order: str) -> tuple[str, ...]:
    return () if order == "-" else tuple(part.strip() for part in order.split(",") if part.strip())


def read_labelled(one: ValidationTask) -> TaskData:
    """Read and check a labelled set that can choose checkpoints.

    Raises:
        TaskError: it is missing or unusable, or has masks or boxes, which give no k-NN score.
    """
    from evaluation.tasks import SplitStore, TaskError, resolve_task
    from warehouse.forgotten import lake_key

    stored = SplitStore(folder=one.splits, data=one.data.absolute(), key=lake_key(one.splits.parent)) if one.splits else None
    found = resolve_task(one.task, one.data, order=one.order, protocol=one.protocol, stored=stored)
    if found.kind in ("segmentation", "detection"):
        raise TaskError(f"task {found.name} is a {found.kind} set; validate on one with classes, such as landmarks")
    found.validate()
    return found


def check_choice(validation: Validation, names: Sequence[str]) -> None:
    """See that names of sets tell them apart and that the one that chooses is among them.

    Args:
        validation: of a run.
        names: of its sets, as they were read.

    Raises:
        ValueError: two are equal, or none is the one that chooses.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two validation tasks are called {twice[0]!r}; give each --task a name of its own, or rename a folder")
    chosen = validation.chosen_by
    if chosen is None or chosen in names:
        return
    if "test" in chosen.split("/"):
        raise ValueError(
            f"--chosen-by is {chosen!r}, a test split: those report, and never choose a checkpoint; give the task's name alone"
        )
    raise ValueError(f"--chosen-by is {chosen!r}; give one of the validation tasks, {', '.join(names)}")


def _refuse_test_split(folder: Path) -> None:
    folder = Path(folder).absolute()
    if folder.name.lower() not in _TEST or not folder.is_dir():
        return
    beside = sorted(other.name for other in folder.parent.iterdir() if other.is_dir() and other.name.lower() in _OTHERS)
    if beside:
        raise ValueError(
            f"--validation {folder} is the test split beside {', '.join(beside)}: checkpoints are never chosen on it; "
            f"give {folder.parent}, of which the val split is read"
        )
