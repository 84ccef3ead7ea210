"""Named divisions of a task's images into train, val and test: the published ones, and which of them leak.

`clean` and `published` are no names of their own. `clean` is a task's first division that is not known to leak, and folds that are made
here if it has none. `published` is its first division that a publication reports scores on, leaking or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.tasks.items import Item, TaskError

__all__ = ["CLEAN", "MADE", "PUBLISHED", "SplitProtocol", "choose_split"]

CLEAN, PUBLISHED, MADE = "clean", "published", "made"
"""What `--protocol` may say of every task; the names of its own divisions come beside."""


def _always(_: Path) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitProtocol:
    """One way to divide the images of a task."""

    name: str
    """what `--protocol` says: small letters, digits, underscores"""
    source: str
    """who published it, in a few words; stands with each score"""
    divide: Callable[[Path, list[Item], int], tuple[list[Item], tuple[str, ...]]]
    """data folder, all items and a fold's number, to the items of that fold with their splits, and notes; without val items, groups of
    the training split become them"""
    num_folds: int = 1
    """each is a test set of its own, or trains on other images for one test set"""
    default_fold: int = 0
    """that is read unless one is asked for"""
    leak: str = ""
    """what its test split shares with its training split, if that is known"""
    is_published: bool = True
    """whether a publication reports scores on it"""
    may_be_clean: bool = True
    """whether `clean` may mean it; not so for a draw of single images without patients, to which folds made here are equal"""
    is_there: Callable[[Path], bool] = _always
    """whether the data folder has the lists that it needs"""
    needs: str = ""
    """those lists, and where they are published"""


def choose_split(task: str, protocols: Sequence[SplitProtocol], wanted: str, data: Path) -> SplitProtocol | None:
    """The division that `--protocol` means; None for splits of the data itself, or folds made here.

    Args:
        task: its name, for errors.
        protocols: its divisions, the preferred one first.
        wanted: clean, published, made, or a division's name.
        data: the task's folder.

    Raises:
        TaskError: the task has no such division, or its lists are not in the folder.
    """
    if wanted == MADE:
        return None
    if wanted == CLEAN:
        return next((one for one in protocols if one.may_be_clean and not one.leak and one.is_there(data)), None)
    fitting = [one for one in protocols if (one.is_published if wanted == PUBLISHED else one.name == wanted)]
    if not fitting:
        own = "".join(f", {one.name}" for one in protocols)
        raise TaskError(f"task {task} has no protocol {wanted!r}; give one of {CLEAN}, {MADE}{own}")
    found = next((one for one in fitting if one.is_there(data)), None)
    if found is None:
        raise TaskError(f"task {task}: protocol {wanted} needs {fitting[0].needs}, not found under {data}; put it there")
    return found
