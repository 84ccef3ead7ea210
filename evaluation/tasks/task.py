"""An evaluation task as one record: what `--task` calls it, which data it reads, and how that is scored.

A package adds a task by an entry point of the group `endoforge.tasks` that names a `Task`; examples/task_example shows one. The tasks of
EndoForge itself are such records too, each in a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evaluation.config import TaskKind
from evaluation.tasks.binary_cut import BinaryCut
from evaluation.tasks.expected import Expected
from evaluation.tasks.items import Item
from evaluation.tasks.protocol import Protocol
from evaluation.tasks.split_protocol import SplitProtocol

__all__ = ["NO_PATIENTS", "Reading", "Task"]

NO_PATIENTS = "the publication names no patients: frames of one examination may stand in several splits"

Reading = tuple[list[Item], tuple[str, ...]]
"""Items, and notes that stand with each score, such as where the splits are from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task; its items are read anew for each evaluation."""

    name: str
    """what `--task` says, and the table of scores; of a package's task also its entry point: small letters, digits, underscores"""
    data: str
    """which images and labels it reads, and where they are from, in one sentence"""
    read: Callable[[Path], Reading]
    """the items below a folder that is there, an empty `split` where the data names none; raises `TaskError` if they are not all there"""
    kind: TaskKind | None = None
    """what the labels are; found from them unless given"""
    order: tuple[str, ...] = ()
    """ordinal classes from best to worst; not needed if their names end in numbers"""
    has_made_folds: bool = True
    """whether `--protocol made` may divide its images anew; not where the division is what the task is about"""
    protocol: Protocol | None = None
    """heads, metrics and primary metric; those of the kind unless given"""
    detect: Callable[[Path], bool] | None = None
    """whether `--task auto` reads a folder as this task; without it only the task's name does"""
    splits: tuple[SplitProtocol, ...] = ()
    """named divisions that `--protocol` chooses from, the preferred one first; without any, the splits that `read` gives"""
    expected: Expected | None = None
    """published counts of what `read` gives; a set that differs by more than 1% is refused"""
    are_patients: bool = True
    """whether the groups that `read` gives are patients, or videos or sequences of one; not so if they are centres"""
    frame_rate: Callable[[Path], tuple[float, str]] | None = None
    """frames a second of its videos, as they are read, and where that is from; None for stills"""
    clip_windows: int = 1
    """of a task of clips: windows of a clip whose logits are averaged"""
    cut: BinaryCut | None = None
    """yes-or-no question that the grades answer as well"""
