"""Splits that were made here, kept as files: old images keep their split for good, whatever is added to a set later.

A made split follows from the data alone, and adding one patient would make another of it. So the first division of a set is written down,
group by group, and read from then on. Groups that it does not know get a split of their own and change no other's.

The files lie under `FOLDER/NAME/`: `test-1.json` holds the parts of which each is a test split in turn, `val-5-fold-0-1.json` those of the
training groups of fold 0. Their last number is raised each time groups are added. Groups stand in them by a keyed digest,
since numbers of patients can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.tasks.items import Item
from warehouse.store import canonical_json, file_sha256, read_json, write_json

__all__ = ["MakeParts", "SplitStore", "StoredSplit"]

MakeParts = Callable[[list[Item], str, int], list[list[int]]]
"""training items, the split that is made and the number of parts, to the positions of the items in each part"""

_SAME_SET = 0.5
"""share of groups in common, of the smaller of folder and stored division, from which on they are the same set"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSplit:
    """One division, in its newest version."""

    name: str
    """of the set, as scores name its splits"""
    path: Path
    parts: Mapping[str, int]
    """part of each group, by digest"""
    num_parts: int
    num_later: int
    """groups that were not there when the set was first divided"""

    @property
    def sha256(self) -> str:
        """Of the file."""
        return file_sha256(self.path)


@dataclass(slots=True, kw_only=True)
class SplitStore:
    """The stored divisions of one set."""

    folder: Path
    """of all sets; of a lake `splits`"""
    data: Path
    """folder of the set; images without a group are known by their path below it"""
    key: bytes
    """of the digests of groups; the lake's own"""
    is_read_only: bool = False
    """whether a division that is not stored is made as the first one would be, and not written"""
    used: list[StoredSplit] = field(default_factory=list)
    """what was read or written"""
    name: str = ""
    """under which the set is stored; empty until it is known"""

    def parts(self, name: str, items: list[Item], split: str, key: str, num_parts: int, make: MakeParts) -> list[list[int]]:
        """Positions of the training items in parts of whole groups: as stored, with new groups where parts are small.

        Args:
            name: of the set; another set of that name gets a number behind it.
            items: with their splits; those of other splits than train are left alone.
            split: the one that is made, test or val.
            key: tells the divisions of a set apart.
            num_parts: wanted, if there is no division yet.
            make: makes the first one.

        Raises:
            TaskError: the first division cannot be made.
        """
        train = [number for number, item in enumerate(items) if item.split == "train"]
        groups = {number: self._digest(items[number]) for number in train}
        self.name = name = self.name or self._name(name, set(groups.values()))
        found = _newest(self.folder / name, name, key)
        parts, count, later = (dict(found.parts), found.num_parts, found.num_later) if found else ({}, 0, 0)
        if found is None:
            made = make(items, split, num_parts)
            parts, count = {groups[number]: place for place, part in enumerate(made) for number in part}, len(made)
        new = _placed([(groups[number], str(items[number].label)) for number in train], parts, count)
        if found is None or new:
            version = 1 if found is None else int(found.path.stem.rpartition("-")[2]) + 1
            path = self.folder / name / f"{key}-{version}.json"
            found = StoredSplit(name=name, path=path, parts={**parts, **new}, num_parts=count, num_later=later + len(new))
            if not self.is_read_only:
                write_json(path, {"name": name, "num_parts": count, "num_later": found.num_later, "parts": found.parts})
        self.used.append(found)
        positions: list[list[int]] = [[] for _ in range(count)]
        for number in train:
            positions[found.parts[groups[number]]].append(number)
        return positions

    def notes(self) -> tuple[str, ...]:
        """That groups came later, in one sentence."""
        num_later = max((one.num_later for one in self.used), default=0)
        if not num_later:
            return ()
        came = f"{num_later:,} groups came after the first division and were given a split"
        return (f"made splits {self.name!r}: {came}; old images keep theirs",)

    def _digest(self, item: Item) -> str:
        alone = item.group in ("", item.path)
        text = canonical_json(["image", os.path.relpath(item.path, self.data)] if alone else ["group", item.group])
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:16]

    def _name(self, name: str, groups: set[str]) -> str:
        """The set's name, or with the first free number if another set of that name is stored."""
        plain = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).lstrip(".") or "set"
        number, told = 1, plain
        while (stored := _known_groups(self.folder / told)) and len(stored & groups) < _SAME_SET * min(len(stored), len(groups)):
            number += 1
            told = f"{plain}-{number}"
        return told


def _known_groups(folder: Path) -> set[str]:
    """Groups of all divisions of a set in their newest versions."""
    return {group for path in folder.glob("*.json") for group in read_json(path)["parts"]} if folder.is_dir() else set()


def _newest(folder: Path, name: str, key: str) -> StoredSplit | None:
    versions = [int(tail) for path in folder.glob(f"{key}-*.json") if (tail := path.stem.removeprefix(f"{key}-")).isdigit()]
    if not versions:
        return None
    path = folder / f"{key}-{max(versions)}.json"
    stored: dict[str, Any] = read_json(path)
    return StoredSplit(name=name, path=path, parts=stored["parts"], num_parts=stored["num_parts"], num_later=stored["num_later"])


def _placed(rows: Sequence[tuple[str, str]], parts: Mapping[str, int], num_parts: int) -> dict[str, int]:
    """A part for each new group: the one with the fewest images of its commonest class, of equal ones with the fewest images."""
    images: Counter[tuple[int, str]] = Counter()
    totals: Counter[int] = Counter()
    new: dict[str, Counter[str]] = defaultdict(Counter)
    for group, label in rows:
        if group in parts:
            images[parts[group], label] += 1
            totals[parts[group]] += 1
        else:
            new[group][label] += 1
    found = {}
    for group in sorted(new, key=lambda one: (-new[one].total(), one)):
        label = min(new[group], key=lambda one: (-new[group][one], one))
        place = min(range(num_parts), key=lambda number: (images[number, label], totals[number], number))
        found[group] = place
        totals[place] += new[group].total()
        for one, count in new[group].items():
            images[place, one] += count
    return found
