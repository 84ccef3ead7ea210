"""Give every item a split: what the data says, and seeded, group-wise, stratified parts where it says nothing."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from evaluation.tasks.items import Item, TaskError

__all__ = ["complete_splits", "normalized_split"]

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


def complete_splits(items: list[Item], *, share: float, seed: int) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """Items with a split each, and a note for every split that was made here.

    An item's empty split means that the data names none. A set without a test split has its validation split reported as test, because
    numbers on images that chose the head would be too good.

    Args:
        items: with `split` train, val, test or "".
        share: of the groups, for each part that is made here.
        seed: of the parts.
    """
    notes: list[str] = []
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
    for split in ("test", "val"):
        if split not in present:
            items = _carve(items, split, share=share, seed=seed)
            notes.append(f"the data names no {split} split: {share:.0%} of the training groups, by seed {seed}")
    return tuple(items), tuple(notes)


def _carve(items: list[Item], split: str, *, share: float, seed: int) -> list[Item]:
    """Move about `share` of the training groups to `split`, keeping the classes' proportions as far as groups allow."""
    train = [i for i, item in enumerate(items) if item.split == "train"]
    groups = np.array([items[i].group for i in train])
    labels = np.array([items[i].label or "" for i in train])
    num_groups = len(np.unique(groups))
    if num_groups < 3:
        raise TaskError(
            f"a {split} split cannot be made from {num_groups} training groups; label images of at least 3 patients, or name the splits"
        )
    num_folds = min(num_groups, max(2, round(1 / share)))
    one_each = num_groups == len(train)
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # seconds, for what most sets name themselves

    folds = (StratifiedKFold if one_each else StratifiedGroupKFold)(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class rarer than the folds; validate() names it where that matters
        try:
            _, chosen = next(folds.split(np.zeros(len(train)), labels, None if one_each else groups))
        except ValueError as error:  # every class is rarer than the number of folds
            raise TaskError(f"a {split} split cannot be made: {error}; label more images per class, or name the splits") from error
    moved = {train[i] for i in chosen}
    return [replace(item, split=split) if i in moved else item for i, item in enumerate(items)]
