"""Give every item a split: what the data says, and grouped, stratified parts where it says nothing.

Parts that are made here follow from the data alone. Within one fold no seed and no share moves an image from the validation split to the
test split, so a checkpoint that was chosen on the first is not tested on it. Where a lake keeps them (stored_splits.py), an image added
later moves no other one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

from evaluation.tasks.items import Item, TaskError

__all__ = ["Completed", "PartsOf", "complete_splits", "made_parts", "normalized_split"]

PartsOf = Callable[[list[Item], str, int, int | None], list[list[int]]]
"""items, the split that is made (test or val), the number of parts and the fold, to positions of the training items in parts of groups"""

NUM_FOLDS = 5
"""Parts of the groups, each of which is a test split in turn; fewer if there are fewer groups."""

DRAW = 0
"""Seed of every part that is made here; an evaluation's own seed does not reach it."""

_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def normalized_split(value: str) -> str | None:
    """train, val or test for the usual spellings of them; None for an empty one.

    Raises:
        TaskError: the value is no split.
    """
    name = value.strip().lower()
    if not name:
        return None
    if name not in _ALIASES:
        raise TaskError(f"split {value!r} is not known; use train, val or test")
    return _ALIASES[name]


@dataclass(frozen=True, slots=True)
class Completed:
    """Items with a split each."""

    items: tuple[Item, ...]
    notes: tuple[str, ...]
    """one for every split that was made here"""
    num_folds: int
    """test splits that can be had in turn; 1 if the data names its test split"""


def complete_splits(items: list[Item], *, val_share: float, fold: int | None = None, parts_of: PartsOf | None = None) -> Completed:
    """Divide what the data does not divide; the same items are divided alike always.

    An item's empty split means that the data names none. A set without a test split has its validation split reported as test, because
    numbers on images that chose the head would be too good.

    Args:
        items: with `split` train, val, test or "".
        val_share: share of the training groups that becomes the validation split.
        fold: which of the groups' parts is the test split; the first unless given.
        parts_of: gives the parts; `made_parts` unless given.

    Raises:
        TaskError: there are too few groups, a fold is asked for that there is not, or some items name a split and others none.
    """
    notes: list[str] = []
    parts_of = parts_of or _parts_of
    unnamed = sum(item.split == "" for item in items)
    if 0 < unnamed < len(items):
        raise TaskError(f"{unnamed} of {len(items)} items name no split; name one for every item or for none")
    if unnamed:
        items = [replace(item, split="train") for item in items]
    present = {item.split for item in items}
    if "train" not in present:
        raise TaskError(f"no training images: the splits named are {', '.join(sorted(present)) or 'none'}; name a train split")
    if "test" not in present and "val" in present:
        items = [replace(item, split="test") if item.split == "val" else item for item in items]
        notes.append("the data names no test split: its val split is reported as test")
        present = {"train", "test"}
    num_folds = 1
    if "test" not in present:
        parts = parts_of(items, "test", NUM_FOLDS, None)
        num_folds = len(parts)
        _check_fold(fold, num_folds)
        items = _moved(items, parts[fold or 0], "test")
        notes.append(f"the data names no test split: fold {fold or 0} of {num_folds} folds of its groups, whatever the seed")
    elif fold is not None:
        raise TaskError("the data names its test split, so there are no folds; leave --fold out, or give --protocol made")
    if "val" not in present:
        parts = parts_of(items, "val", max(2, round(1 / val_share)), (fold or 0) if num_folds > 1 else None)
        items = _moved(items, parts[0], "val")
        notes.append(f"the data names no val split: {val_share:.0%} of the training groups, whatever the seed")
    return Completed(tuple(items), tuple(notes), num_folds)


def _check_fold(fold: int | None, num_folds: int) -> None:
    if fold is not None and not 0 <= fold < num_folds:
        raise TaskError(f"fold is {fold}; give 0 to {num_folds - 1}, or all")


def _parts_of(items: list[Item], split: str, num_parts: int, _: int | None) -> list[list[int]]:
    return made_parts(items, split, num_parts)


def made_parts(items: list[Item], split: str, num_parts: int) -> list[list[int]]:
    """Positions of the training items in parts of whole groups, with the classes' proportions as far as groups allow.

    Raises:
        TaskError: there are fewer than three groups, or no class has two images.
    """
    import numpy as np  # for what most sets name themselves, as scikit-learn below, which takes seconds

    train = [i for i, item in enumerate(items) if item.split == "train"]
    groups = np.array([items[i].group for i in train])
    labels = np.array([items[i].label or "" for i in train])
    num_groups = len(np.unique(groups))
    if num_groups < 3:
        raise TaskError(
            f"a {split} split cannot be made from {num_groups} training groups; label images of at least 3 patients, or name the splits"
        )
    commonest = int(np.unique(labels, return_counts=True)[1].max())
    num_parts = min(num_groups, num_parts, max(2, commonest))  # no class fills more parts than it has images
    one_each = num_groups == len(train)
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    folds = (StratifiedKFold if one_each else StratifiedGroupKFold)(num_parts, shuffle=True, random_state=DRAW)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class rarer than the folds; validate() names it where that matters
        try:
            divided = [part for _, part in folds.split(np.zeros(len(train)), labels, None if one_each else groups)]
        except ValueError as error:  # no class has two images
            raise TaskError(f"a {split} split cannot be made: {error}; label more images per class, or name the splits") from error
    return [[train[i] for i in part] for part in divided if len(part)]


def _moved(items: list[Item], positions: list[int], split: str) -> list[Item]:
    chosen = set(positions)
    return [replace(item, split=split) if i in chosen else item for i, item in enumerate(items)]
