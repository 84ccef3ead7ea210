"""Whether test images were seen before: byte by byte, as near copies, or as pictures of the same patient in another split.

Near copies are looked for in two steps. A small description of each image (local detail on a coarse grid, also mirrored and cut down)
names the pairs that are worth a look, and so does a search by embedding, which knows a scene from another side. Whoever calls gives that
search, and the function that looks: it lays one picture over the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import cv2
import numpy as np
import numpy.typing as npt

from evaluation.images import item_image, stream
from evaluation.tasks import Item, TaskData

__all__ = ["COPY_OF_OTHER_PATIENT", "LEAKAGE_VERSION", "Copy", "Judge", "LeakVerdict", "Propose", "find_leaks", "patients_of"]

LEAKAGE_VERSION = 5
"""raise when the same images would give another verdict"""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
Judge = Callable[[Pixels, Pixels], float]
"""correlation of two [H, W, 3] pictures, one laid over the other: 1 for copies, about 0 for others"""

Propose = Callable[[Ints, Ints], Sequence[Sequence[tuple[int, float]]]]
"""places of items of a later split and of an earlier one, to what each later one may be a copy of: places of earlier ones, with the cosine
of their embeddings"""

COPY_CORRELATION = 0.2
"""from it on two pictures show one moment or the seconds around it: in EffiSegNet's Kvasir-SEG the eight pairs from 0.21 on all show the
same polyp, and the highest of 206 other pairs has 0.16"""

COPY_OF_OTHER_PATIENT = 0.4
"""the same for pictures that the data says are of two patients: between 864 phantom frames of 48 patients chance reaches 0.25;
`curate --holdout`, which throws frames away, asks for as much"""

COPY_COSINE = 0.88
"""Cosine of the offline encoder's embeddings, from which on two whole pictures of patients who are not named show one scene from two
sides; see the tables in docs/evaluation.md. Crops of plain mucosa come as near to each other by chance, so of these the pixels alone
decide."""

_SIDE = 24  # of the description's grid
_LOOK_SIDE = 256  # of the pictures that are laid over each other
_NUM_LOOKED_AT = 3  # pictures of the other split for each one, at most
_WORTH_A_LOOK = 0.65  # cosine of descriptions
_DARK = 12
_CROPS = ((0.125, 0.125, 0.75), (0.0, 0.0, 0.75), (0.25, 0.0, 0.75), (0.0, 0.25, 0.75), (0.25, 0.25, 0.75), (0.075, 0.075, 0.85))
_FLIPS = (1, 0, -1)


@dataclass(frozen=True, slots=True)
class Copy:
    """Two items of different splits that show the same."""

    first: int
    """place among the task's items; its split is the earlier of train, val and test"""
    second: int
    kind: str
    """exact, near, embedding (found by their embeddings alone) or group"""
    correlation: float
    """of near copies; 1 for exact ones, not a number for items of one group"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakVerdict:
    """What a task's own splits share."""

    num_test: int
    """test items of which a copy, or the patient, video or sequence, is in train or val"""
    num_val: int
    """validation items of which that is in train"""
    num_exact: int
    """test items that are the same file as one in train or val"""
    num_near: int
    """test items that are near copies of one"""
    num_embedding: int
    """test items that show the same as one by their embeddings alone"""
    num_group: int
    """test items whose group has items in train or val"""
    patients: str
    """known, unknown, or unknown for some items"""
    searched: bool
    """whether near copies were looked for"""
    copies: tuple[Copy, ...] = ()
    """pairs, the best of each second item; the same ones at every call"""

    @property
    def word(self) -> str:
        """`clean`, `overlap n` with the number of test items, or `unknown` where nothing was found and near copies were not looked for."""
        if self.num_test:
            return f"overlap {self.num_test}"
        return "clean" if self.searched else "unknown"

    @property
    def details(self) -> dict[str, str]:
        """What stands in the details of each score."""
        kinds = {"exact": self.num_exact, "near": self.num_near, "embedding": self.num_embedding, "group": self.num_group}
        kinds["val in train"] = self.num_val
        said = ", ".join(f"{name} {count}" for name, count in kinds.items() if count)
        return {"leak": self.word, "patients": self.patients, **({"leak_kinds": said} if said else {})}


def patients_of(items: Sequence[Item]) -> str:
    """Whether the data names patients, videos or sequences: known, unknown, or unknown for so many of all.

    A reader gives an item its own path as group where the data names none.
    """
    unnamed = sum(item.group in ("", item.path) for item in items)
    if not unnamed:
        return "known"
    return "unknown" if unnamed == len(items) else f"unknown for {unnamed} of {len(items)}"


def find_leaks(
    task: TaskData, hashes: Sequence[str], *, judge: Judge | None, propose: Propose | None = None, num_workers: int = 2
) -> LeakVerdict:
    """Compare the splits of a task with each other.

    Args:
        task: its items in order; crops are compared as crops.
        hashes: SHA-256 of each item's file, in the items' order.
        judge: looks at pairs of pictures, in several threads; without it near copies are not looked for.
        propose: names further pairs to look at, by embedding; the nearest are copies whatever their pixels.
        num_workers: threads that decode and compare images.

    Raises:
        ValueError: there is not one hash per item.
        TaskError: an image does not decode.
    """
    if len(hashes) != len(task.items):
        raise ValueError(f"{len(hashes)} hashes were given for {len(task.items)} items; give one per item, in their order")
    named = [None if item.group in ("", item.path) else item.group for item in task.items]
    found = [*_same(task.items, list(hashes), "exact"), *_same(task.items, named, "group")]
    if judge is not None:
        known = {(copy.first, copy.second) for copy in found if copy.kind == "exact"}
        found += [copy for copy in _near(task.items, judge, propose, num_workers) if (copy.first, copy.second) not in known]
    of_test = {kind: {c.second for c in found if c.kind == kind and task.items[c.second].split == "test"} for kind in _KINDS}
    of_val = {c.second for c in found if task.items[c.second].split == "val"}
    return LeakVerdict(
        num_test=len(set().union(*of_test.values())),
        num_val=len(of_val),
        num_exact=len(of_test["exact"]),
        num_near=len(of_test["near"]),
        num_embedding=len(of_test["embedding"]),
        num_group=len(of_test["group"]),
        patients=patients_of(task.items) if task.are_patients else "unknown",
        searched=judge is not None,
        copies=tuple(sorted(found, key=lambda copy: (copy.second, copy.kind, copy.first))),
    )


_KINDS = ("exact", "near", "embedding", "group")
_ORDER = {"train": 0, "val": 1, "test": 2}


def _same(items: Sequence[Item], keys: Sequence[str | None], kind: str) -> list[Copy]:
    """For each item, the first item of an earlier split with the same key."""
    firsts: dict[str, dict[str, int]] = defaultdict(dict)
    for number, (item, key) in enumerate(zip(items, keys, strict=True)):
        if key is not None:
            firsts[key].setdefault(item.split, number)
    found = []
    for number, (item, key) in enumerate(zip(items, keys, strict=True)):
        earlier = [] if key is None else [at for split, at in firsts[key].items() if _ORDER[split] < _ORDER[item.split]]
        if earlier:
            found.append(Copy(min(earlier), number, kind, 1.0 if kind == "exact" else float("nan")))
    return found


def _near(items: Sequence[Item], judge: Judge, propose: Propose | None, num_workers: int) -> list[Copy]:
    views = _described(items, num_workers)
    look = lru_cache(maxsize=2048)(lambda number: item_image(items[number], size=_LOOK_SIDE, interpolation="bilinear"))
    places = {split: np.flatnonzero([item.split == split for item in items]) for split in _ORDER}

    def copy_of(number: int, proposed: Sequence[tuple[int, float]], near: Sequence[int]) -> Copy | None:
        cosines = dict(proposed)
        best: Copy | None = None
        for other in dict.fromkeys([*near, *cosines]):
            correlation = judge(look(other), look(number))
            is_alike = correlation >= _needed(items[other], items[number])
            is_one_scene = cosines.get(other, 0.0) >= COPY_COSINE and _may_embedding_decide(items[other], items[number])
            if (is_alike or is_one_scene) and (best is None or correlation > best.correlation):
                best = Copy(other, number, "near" if is_alike and other in near else "embedding", correlation)
        return best

    found: dict[int, Copy] = {}
    with ThreadPoolExecutor(num_workers) as pool:
        for first, second in combinations(_ORDER, 2):
            numbers = places[second].tolist()
            described = dict(_worth_a_look(views, places[second], places[first]))
            embedded = propose(places[second], places[first]) if propose is not None and len(places[first]) else [()] * len(numbers)
            for copy in pool.map(copy_of, numbers, embedded, [described.get(number, ()) for number in numbers]):
                if copy is not None and (copy.second not in found or copy.correlation > found[copy.second].correlation):
                    found[copy.second] = copy
    return list(found.values())


def _needed(first: Item, second: Item) -> float:
    return COPY_OF_OTHER_PATIENT if _are_told_apart(first, second) else COPY_CORRELATION


def _may_embedding_decide(first: Item, second: Item) -> bool:
    return first.box is None and second.box is None and not _are_told_apart(first, second)


def _are_told_apart(first: Item, second: Item) -> bool:
    """Whether the data says that two items are of two patients."""
    groups = {first.group, second.group}
    return len(groups) == 2 and not groups & {"", first.path, second.path}


def _worth_a_look(views: Floats, of: npt.NDArray[np.int64], among: npt.NDArray[np.int64]) -> Iterator[tuple[int, list[int]]]:
    """For each item, those of the other split whose description is like its own, or whose part is, or of which it is a part."""
    if not len(among):
        return
    num_views, dim = views.shape[1:]
    parts = views[among].reshape(-1, dim)
    for start in range(0, len(of), 32):
        block = of[start : start + 32]
        inside = (views[block, 0] @ parts.T).reshape(len(block), len(among), num_views).max(2)
        around = (views[block].reshape(-1, dim) @ views[among, 0].T).reshape(len(block), num_views, len(among)).max(1)
        likeness = np.maximum(inside, around)
        for number, row in zip(block.tolist(), likeness, strict=True):
            nearest = np.argsort(-row, kind="stable")[:_NUM_LOOKED_AT]
            if near := [int(among[at]) for at in nearest if row[at] >= _WORTH_A_LOOK]:
                yield number, near


def _described(items: Sequence[Item], num_workers: int) -> Floats:
    """Unit vectors of each item's picture, mirrored, and cut down, [N, V, D]."""

    def load(item: Item) -> Pixels:
        return item_image(item, size=128, interpolation="bilinear")

    rows = [_views(pixels) for batch in stream(load, items, batch_size=64, num_workers=num_workers) for pixels in batch]
    return np.stack(rows)


def _views(pixels: Pixels) -> Floats:
    gray = _content(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8))
    height, width = gray.shape
    pictures = [gray, *(np.asarray(cv2.flip(gray, code), np.uint8) for code in _FLIPS)]
    for left, top, side in _CROPS:
        rows = slice(round(top * height), round((top + side) * height))
        pictures.append(gray[rows, round(left * width) : round((left + side) * width)])
    return np.stack([_description(picture) for picture in pictures])


def _content(gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Without dark borders; as it is where hardly anything would be left."""
    rows, columns = (np.flatnonzero((gray > _DARK).mean(axis) > 0.1) for axis in (1, 0))
    if len(rows) < gray.shape[0] // 4 or len(columns) < gray.shape[1] // 4:
        return gray
    return gray[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _description(gray: npt.NDArray[np.uint8]) -> Floats:
    """Local detail over local contrast on a coarse grid, as a unit vector: brightness, contrast and compression leave it alone.

    What is dark (borders, insets, blacked-out text) has no detail: else all pictures of one processor would look alike.
    """
    seen = (gray > _DARK).astype(np.float32)
    weight, shown = (
        np.asarray(cv2.resize(values, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)
        for values in (seen, gray.astype(np.float32) * seen)
    )
    detail: Floats = _blurred(shown, weight, 0.7) - _blurred(shown, weight, 4)
    detail *= weight > 0.5
    detail /= np.sqrt(_blurred(detail * detail, weight, 4)) + 2
    flat = detail.ravel()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-6), np.float32)


def _blurred(values: Floats, weight: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-2), np.float32)
