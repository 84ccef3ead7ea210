"""Labels and groups of items as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evaluation.tasks import Item

__all__ = ["class_indices", "group_indices", "numbered"]

Ints = npt.NDArray[np.int64]


def class_indices(items: Sequence[Item], classes: tuple[str, ...]) -> Ints:
    """Class index of every item, [N]."""
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[str(item.label)] for item in items], dtype=np.int64)


def group_indices(items: Sequence[Item]) -> Ints:
    """Groups numbered from 0 in order of appearance, [N]."""
    return numbered([item.group for item in items])


def numbered(groups: Sequence[str]) -> Ints:
    """Names numbered from 0 in order of appearance, [N]."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
