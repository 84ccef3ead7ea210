"""PolypDiag: short clips of colonoscopies, with a polyp or without.

The published lists name a training and a validation part, and the best epoch on the latter is what Endo-FM and its followers report.
The lists do not name the videos from which clips were cut: a table `sources.csv` may, and clips of one source then stay together.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.protocol import Protocol
from evaluation.tasks.readers import read_rows
from evaluation.tasks.split_protocol import SplitProtocol
from evaluation.tasks.task import Reading, Task

__all__ = ["POLYPDIAG"]

CLASSES = ("normal", "polyp")
"""Labels 0 and 1 of the lists."""

NO_SOURCES = "PolypDiag's lists name no source videos and sources.csv is not there: clips of one procedure may stand in several splits"
_ROOTS = ("", "PolypDiag", "polypdiag")


def _read(data: Path) -> Reading:
    root = _root(data)
    listed: dict[str, tuple[str, str]] = {}
    for name, path, label in (line for split in ("train", "val") for line in _list(root, split)):
        if listed.setdefault(name, (path, label))[1] != label:
            raise TaskError(f"task polypdiag: the lists call {name} {listed[name][1]} and {label}; correct its label in {root / 'splits'}")
    sources = _sources(root)
    items = [
        Item(path=path, label=label, split="", group=sources.get(name, path), span=(0.0, math.inf))
        for name, (path, label) in sorted(listed.items())
    ]
    return items, () if sources else (NO_SOURCES,)


def _root(data: Path) -> Path:
    for root in (data / name for name in _ROOTS):
        if (root / "videos").is_dir() and (root / "splits").is_dir():
            return root
    raise TaskError(f"task polypdiag: no folders videos and splits under {data}; give the folder of both")


def _is_here(data: Path) -> bool:
    return any((data / name / "videos").is_dir() and (data / name / "splits" / "train.txt").is_file() for name in _ROOTS)


def _list(root: Path, split: str) -> list[tuple[str, str, str]]:
    """File name, path and class of each line `file,label` of a list."""
    table = root / "splits" / f"{split}.txt"
    if not table.is_file():
        raise TaskError(f"task polypdiag: {table} is not there; put the published lists train.txt and val.txt into splits/")
    found = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, comma, label = line.strip().rpartition(",")
        if not comma or label.strip() not in ("0", "1") or not name.strip():
            raise TaskError(f"{table} line {number} is {line.strip()!r}; give a file and 0 or 1, such as clip.mp4,1")
        path = root / "videos" / Path(name.strip()).name
        if not path.is_file():
            raise TaskError(f"{table} line {number} names {name.strip()!r}, which is not in {root / 'videos'}; complete the download")
        found.append((path.name, str(path), CLASSES[int(label)]))
    return found


def _sources(root: Path) -> dict[str, str]:
    """The source video of each clip by file name; empty without a table of them."""
    table = root / "sources.csv"
    if not table.is_file():
        return {}
    rows, _ = read_rows(table)
    if not {"file", "source"} <= set(rows[0]):
        raise TaskError(f"{table} has columns {', '.join(map(str, rows[0]))}; give file and source")
    return {Path(row["file"].strip()).name: row["source"].strip() for row in rows if row["source"].strip()}


def _published(data: Path, items: list[Item], _: int) -> Reading:
    """Clips of both lists are in both splits."""
    root, by_path = _root(data), {item.path: item for item in items}
    divided = [replace(by_path[path], split=split) for split in ("train", "val") for _, path, _ in _list(root, split)]
    return divided, ("published scores are of the epoch that is best on the scored clips; here that is chosen on clips of the train list",)


POLYPDIAG = Task(
    name="polypdiag",
    data="PolypDiag: clips of colonoscopies with a polyp or without",
    read=_read,
    detect=_is_here,
    kind="classification",
    protocol=Protocol(heads=("knn", "linear"), metrics=("f1", "auroc/polyp", "balanced_accuracy", "accuracy"), primary="f1"),
    clip_windows=4,
    splits=(
        SplitProtocol(
            name="endofm",
            source="the lists train.txt and val.txt that Endo-FM and its followers use",
            divide=_published,
            leak="clips of PolypDiag are of HyperKvasir and LDPolypVideo, on which Endo-FM was pretrained, and the lists name no sources",
        ),
    ),
)
