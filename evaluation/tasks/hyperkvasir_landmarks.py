"""HyperKvasir's six anatomical landmarks.

The publication names folders `cecum`, `pylorus` and `z-line` whose images its lists call `normal-cecum` and so on. File names are
unique in the whole set, so lists and folders are joined by file name. The lists lie in `official_splits` of
github.com/simula/hyper-kvasir.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from evaluation.tasks.expected import Expected
from evaluation.tasks.image_level import draw_image_level
from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.readers import read_class_folders, read_rows
from evaluation.tasks.split_protocol import SplitProtocol
from evaluation.tasks.task import NO_PATIENTS, Reading, Task

__all__ = ["HYPERKVASIR_LANDMARKS"]

NAME = "hyperkvasir_landmarks"

COUNTS = {"cecum": 1009, "ileum": 9, "pylorus": 999, "retroflex-rectum": 391, "retroflex-stomach": 764, "z-line": 932}

ILEUM = "ileum has 9 images in all, so that a macro average counts each of the few in the test split for hundreds of others"


def _read(data: Path) -> Reading:
    folders = sorted(path for path in data.rglob("anatomical-landmarks") if path.is_dir())
    if not folders:
        raise TaskError(f"task {NAME}: no folder anatomical-landmarks under {data}; give the folder of labeled-images")
    items = [item for folder in folders for item in read_class_folders(folder)]
    return [replace(item, label=str(item.label).removeprefix("normal-"), split="") for item in items], (NO_PATIENTS, ILEUM)


def _list(data: Path, num_folds: int) -> Path | None:
    return next(iter(sorted(data.rglob(f"{num_folds}_fold_split.csv"))), None)


def _official(num_folds: int) -> SplitProtocol:
    def divide(data: Path, items: list[Item], fold: int) -> Reading:
        table = _list(data, num_folds)
        assert table is not None
        rows, _ = read_rows(table)
        listed = {row["file-name"]: int(row["split-index"]) for row in rows}
        splits = {fold: "test"} | ({(fold - 1) % num_folds: "val"} if num_folds > 2 else {})
        kept = [(item, listed.get(Path(item.path).name)) for item in items]
        unlisted = sum(part is None for _, part in kept)
        divided = [replace(item, split=splits.get(part, "train")) for item, part in kept if part is not None]
        if not divided:
            raise TaskError(f"task {NAME}: none of the {len(items)} images stands in {table}; give the list that was published with them")
        val = f"{(fold - 1) % num_folds} val, " if num_folds > 2 else ""
        notes = (f"official {num_folds} folds: {val}{fold} test, the others train",)
        return divided, (*notes, f"{unlisted} images are not in the official list and are left out") if unlisted else notes

    return SplitProtocol(
        name="two_fold" if num_folds == 2 else "five_fold",
        source=f"HyperKvasir's official {num_folds} folds",
        divide=divide,
        num_folds=num_folds,
        default_fold=num_folds - 1,
        is_there=_has_list(num_folds),
        needs=f"{num_folds}_fold_split.csv (official_splits in github.com/simula/hyper-kvasir)",
    )


def _has_list(num_folds: int) -> Callable[[Path], bool]:
    return lambda data: _list(data, num_folds) is not None


def _ssl4gie(_: Path, items: list[Item], fold: int) -> Reading:
    return draw_image_level(NAME, items, [item.path for item in items], published=sum(COUNTS.values())), ()


HYPERKVASIR_LANDMARKS = Task(
    name=NAME,
    data="HyperKvasir's landmarks",
    read=_read,
    kind="classification",
    splits=(
        _official(5),
        _official(2),
        SplitProtocol(name="ssl4gie", source="SSL4GIE's draw of images, seed 42, 80/10/10", divide=_ssl4gie, may_be_clean=False),
    ),
    expected=Expected(counts=COUNTS),
)
