"""All tasks by name: those of EndoForge itself, and those of other packages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from evaluation.config import EvaluateConfig, TaskKind
from evaluation.tasks.boxes_from_masks import CVC_CLINICDB_BOXES, KVASIR_SEG_BOXES
from evaluation.tasks.clips import CLIPS
from evaluation.tasks.cvc12k import CVC12K
from evaluation.tasks.cvc_clinicdb import CVC_CLINICDB
from evaluation.tasks.expected import difference
from evaluation.tasks.folder import read_task, task_data, without_splits
from evaluation.tasks.gastrohun import GASTROHUN
from evaluation.tasks.gastrovision import GASTROVISION
from evaluation.tasks.grades import GRADES
from evaluation.tasks.hyperkvasir_landmarks import HYPERKVASIR_LANDMARKS
from evaluation.tasks.items import TaskData, TaskError
from evaluation.tasks.kumc import KUMC
from evaluation.tasks.kvasir_capsule import KVASIR_CAPSULE
from evaluation.tasks.kvasir_seg import KVASIR_SEG
from evaluation.tasks.kvasir_size4 import KVASIR_SIZE4
from evaluation.tasks.landmarks import LANDMARKS
from evaluation.tasks.limuc import LIMUC
from evaluation.tasks.patch_polyp_vs_mucosa import PATCH_POLYP_VS_MUCOSA
from evaluation.tasks.polypdiag import POLYPDIAG
from evaluation.tasks.polypgen import POLYPGEN
from evaluation.tasks.polyps import POLYPS
from evaluation.tasks.polyps_across import CVC_TO_KVASIR_SEG, KVASIR_SEG_TO_CVC
from evaluation.tasks.protocol import protocol_fault
from evaluation.tasks.real_colon import REAL_COLON
from evaluation.tasks.real_colon_detection import REAL_COLON_DETECTION
from evaluation.tasks.split_protocol import CLEAN, MADE, SplitProtocol, choose_split
from evaluation.tasks.stored_splits import SplitStore
from evaluation.tasks.task import Reading, Task
from warehouse.near_names import near_hint
from warehouse.plug_ins import Group, load_all, load_named, names, unusable

__all__ = ["KNOWN_TASKS", "TASKS", "check_task_name", "configured_task", "folds_of", "resolve_task", "task_sentence"]

Result = TypeVar("Result")

ENTRY_POINTS = "endoforge.tasks"
"""Group of the entry points by which other packages add tasks."""

_OF_THE_PHANTOM = (LANDMARKS, GRADES, POLYPS)
_OF_CLASSES = (HYPERKVASIR_LANDMARKS, LIMUC, GASTROHUN, GASTROVISION, KVASIR_CAPSULE, REAL_COLON)
_OF_MASKS = (KVASIR_SEG, CVC_CLINICDB, KVASIR_SEG_TO_CVC, CVC_TO_KVASIR_SEG, POLYPGEN)
_OF_BOXES = (KUMC, REAL_COLON_DETECTION, KVASIR_SEG_BOXES, CVC_CLINICDB_BOXES)
_OF_VIDEO = (CLIPS, POLYPDIAG, CVC12K)
_BUILT_IN = (*_OF_THE_PHANTOM, KVASIR_SIZE4, PATCH_POLYP_VS_MUCOSA, *_OF_CLASSES, *_OF_MASKS, *_OF_BOXES, *_OF_VIDEO)

KNOWN_TASKS = {task.name: task for task in _BUILT_IN}
"""The tasks of EndoForge itself, by name."""


def task_sentence() -> str:
    """What `--task` may say, for the help of commands that have it."""
    installed = f", and of installed packages {', '.join(names(ENTRY_POINTS))}" if names(ENTRY_POINTS) else ""
    return f"Tasks: auto, {', '.join(KNOWN_TASKS)}{installed}."


def check_task_name(name: str) -> None:
    """Refuse a name that is neither auto nor that of a task.

    Raises:
        TaskError: the name is not known.
        PlugInError: it is that of a package's task, which cannot be used.
    """
    if name != "auto":
        _named(name)


def resolve_task(
    name: str,
    data: Path,
    *,
    kind: Literal["auto"] | TaskKind | None = None,
    order: Sequence[str] = (),
    val_share: float = 0.2,
    protocol: str = CLEAN,
    fold: int | None = None,
    stored: SplitStore | None = None,
) -> TaskData:
    """The evaluation set called `name` under `data`; auto asks tasks whether it is theirs, then reads its layout.

    Args:
        name: a task, or auto.
        data: the folder that holds it.
        kind: what the labels are; found from them, or the task's own, unless given.
        order: ordinal classes from best to worst; the task's own unless given.
        val_share: share of the training groups that becomes a validation split which the data does not name.
        protocol: clean, published, made, or a division of the task by its name.
        fold: which of the division's folds; its default one unless given.
        stored: where splits that are made here are kept; nowhere unless given.

    Raises:
        TaskError: the name, division or fold is not known, files are not under `data`, or several tasks take `data` for theirs.
        PlugInError: the task of another package cannot be used.
    """
    data = Path(data).absolute()
    task = _detected(data) if name == "auto" else _named(name)
    if task is None:
        return read_task(data, kind=kind, order=order, val_share=val_share, protocol=protocol, fold=fold, stored=stored)
    if not data.is_dir():
        raise TaskError(f"task {task.name}: data folder {data} does not exist; give the folder that holds it")
    items, notes = task.read(data)
    differs = difference(task.expected, items) if task.expected else None
    division = choose_split(task.name, task.splits, protocol, data)
    if division is not None:
        fold = _fold_of(task, division, fold)
        items, more = division.divide(data, items, fold or 0)
        notes = (*notes, *more)
    elif protocol == MADE and not task.has_made_folds:
        raise TaskError(f"task {task.name}: its training and test images are its own; leave --protocol {MADE} out")
    elif protocol == MADE:
        items = without_splits(items)
    is_own = kind in (None, "auto") or kind == task.kind
    found = task_data(
        task.name,
        items,
        kind=task.kind if is_own else kind,
        order=order or task.order,
        val_share=val_share,
        fold=None if division else fold,
        notes=notes,
        protocol=task.protocol if is_own else None,
        stored=stored,
        division="" if division is None else division.name if division.num_folds == 1 else f"{division.name}-{fold or 0}",
    )
    if division is not None:
        named = f"{division.name}: {division.source}"
        found = replace(found, split_protocol=named, known_leak=division.leak, fold=fold, num_folds=division.num_folds)
    rate, source = task.frame_rate(data) if task.frame_rate else (None, "")
    return replace(
        found,
        cut=task.cut,
        are_patients=task.are_patients,
        frames_per_s=rate,
        frame_rate_source=source,
        clip_windows=task.clip_windows,
        count_difference=differs.sentence if differs else "",
        is_other_set=differs is not None and differs.is_other_set,
    )


def configured_task(name: str, data: Path, config: EvaluateConfig, *, fold: int | None, stored: SplitStore | None = None) -> TaskData:
    """`resolve_task` with the settings of an evaluation; the fold apart, for `config` may ask for all of them."""
    told: dict[str, Any] = {"kind": config.kind, "order": config.grades, "val_share": config.val_share, "protocol": config.protocol}
    return resolve_task(name, data, **told, fold=fold, stored=stored)


def folds_of(name: str, data: Path, *, protocol: str = CLEAN) -> int:
    """How many folds a division of a task has; 1 if it has one test split.

    Raises:
        TaskError: as `resolve_task`.
        PlugInError: the task of another package cannot be used.
    """
    return resolve_task(name, data, protocol=protocol).num_folds


def _fold_of(task: Task, division: SplitProtocol, fold: int | None) -> int | None:
    """The fold that is read, None for a division of one."""
    if division.num_folds == 1:
        if fold is not None:
            raise TaskError(f"task {task.name}: protocol {division.name} has no folds; leave --fold out, or give --protocol {MADE}")
        return None
    chosen = division.default_fold if fold is None else fold
    if not 0 <= chosen < division.num_folds:
        raise TaskError(f"task {task.name}: fold is {chosen}; give 0 to {division.num_folds - 1}, or all")
    return chosen


def _named(name: str) -> Task:
    if name in KNOWN_TASKS:
        return KNOWN_TASKS[name]
    found = load_named(TASKS, name)
    if found is None:
        known = sorted({*KNOWN_TASKS, *names(ENTRY_POINTS)})
        hint = near_hint(name, known)
        raise TaskError(f"unknown task {name!r}; use auto for your own data, or one of {', '.join(known)}{hint}")
    return _blamed(*found)


def _detected(data: Path) -> Task | None:
    """The task that takes a folder for its data: of this project those of clips and boxes, and those of other packages."""
    own = [task for task in _BUILT_IN if task.detect is not None]
    installed = [_blamed(title, task) for title, task in load_all(TASKS) if task.detect is not None]
    found = [task for task in (*own, *installed) if task.detect is not None and data.is_dir() and task.detect(data)]
    if len(found) > 1:
        raise TaskError(f"{data} is data of the tasks {' and '.join(task.name for task in found)}; give one of them as the task")
    return found[0] if found else None


def _blamed(title: str, task: Task) -> Task:
    """The task, with its package in what its functions raise; what it says of its data passes."""

    def named(function: Callable[[Path], Result]) -> Callable[[Path], Result]:
        def call(data: Path) -> Result:
            try:
                return function(data)
            except TaskError:
                raise
            except Exception as error:
                raise unusable(f"{title} failed", error) from error

        return call

    def read(data: Path) -> Reading:
        items, notes = task.read(data)
        return list(items), tuple(notes)

    return replace(task, read=named(read), detect=named(task.detect) if task.detect else None)


def _fault(point: str, loaded: Task, _: Sequence[Task]) -> str | None:
    """What makes a task of another package unusable."""
    if loaded.name != point:
        return f"has the name {loaded.name!r}; give it and its entry point one name"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", loaded.name) or loaded.name == "auto":
        return f"has the name {loaded.name!r}; give small letters, digits and underscores"
    if loaded.name in KNOWN_TASKS:
        return f"has the name {loaded.name!r}, which a task of EndoForge has; give another name"
    if loaded.protocol is None:
        return None
    return protocol_fault(loaded.protocol, loaded.kind) if loaded.kind else "has a protocol and no kind; give both or neither"


TASKS = Group(name=ENTRY_POINTS, kind="task", record=Task, fault=_fault)
