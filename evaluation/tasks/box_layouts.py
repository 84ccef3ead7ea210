"""Layouts of boxes that no task reads by itself: known, so that their folders are not taken for classes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from evaluation.tasks.items import TaskError
from evaluation.tasks.voc import object_names

__all__ = ["refuse_boxes"]

_LOOKED_AT = 20
"""annotations that are read for the names of their objects"""

_LINE_FORMATS = (
    ("YOLO", re.compile(r"\d+( +[\d.]+){4}\s*")),
    ("SUN", re.compile(r"\S+\.(jpg|png)( +\d+(,\d+){4})+\s*")),
)
_FOLDERS_OF_COCO = ("annotations", "annotation")


def refuse_boxes(data: Path) -> None:
    """Refuse a folder that class folders would be read from, if files of boxes lie in it.

    Raises:
        TaskError: there is a file of boxes in the layout of VOC, COCO, YOLO or SUN.
    """
    for files in _files_by_folder(data):
        voc = [names for path in files if path.suffix.lower() == ".xml" and (names := object_names(path)) is not None]
        if voc:
            _refuse(data, files[0].parent, "VOC", _as_kumc(frozenset().union(*voc)))
        if any(_is_coco(path) for path in files):
            _refuse(data, files[0].parent, "COCO")
        texts = [path for path in files if path.suffix.lower() == ".txt"][:1]
        for name, line in _LINE_FORMATS:
            if any(line.fullmatch(_first_line(path)) for path in texts):
                _refuse(data, files[0].parent, name)


def _files_by_folder(data: Path) -> Iterator[list[Path]]:
    """The first files of each folder that may tell of boxes."""
    for folder, folders, names in os.walk(data):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        told = sorted(name for name in names if name.lower().endswith((".xml", ".json", ".txt")) and not name.startswith("."))
        if told:
            yield [Path(folder, name) for name in told[:_LOOKED_AT]]


def _is_coco(path: Path) -> bool:
    return path.suffix.lower() == ".json" and (path.name.endswith(".coco.json") or path.parent.name.lower() in _FOLDERS_OF_COCO)


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(300).decode("utf-8", errors="replace").partition("\n")[0]


def _as_kumc(names: frozenset[str]) -> str:
    called = f"; these are {', '.join(sorted(names)[:3])}" if names else ""
    return f" (it looks most like the task kumc, whose objects are adenomatous and hyperplastic{called})"


def _refuse(data: Path, folder: Path, layout: str, more: str = "") -> None:
    where = "it" if folder == data else folder.relative_to(data).as_posix()
    raise TaskError(
        f"{data} looks like boxes: {where} has files in {layout}'s layout{more}, which auto does not read; give the name of the task with "
        "--task, add one as docs/add-task.md says, or name classes of whole images in a labels.csv"
    )
