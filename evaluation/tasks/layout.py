"""Tell the layout of a folder from its subfolders, and refuse one that is only half known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from evaluation.tasks.box_layouts import refuse_boxes
from evaluation.tasks.items import TaskError
from evaluation.tasks.splits import normalized_split

__all__ = ["IMAGE_SUFFIXES", "check_data", "image_files", "refuse_half_known", "split_of_folder", "subfolders"]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

_PUBLISHED = (
    ("cvc_clinicdb", ("original", "ground truth"), ""),
    ("limuc", ("train_and_validation_sets", "test_set"), ""),
    ("hyperkvasir_landmarks", ("anatomical-landmarks",), ""),
    ("hyperkvasir_landmarks", ("lower-gi-tract",), ""),
    ("hyperkvasir_landmarks", ("upper-gi-tract",), ""),
    ("hyperkvasir_landmarks", ("labeled-images",), ""),
    ("polypgen", ("(data|images)_c[1-6]",), ""),
    ("real_colon", (r"\d{3}-\d{3}_frames",), ", or real_colon_detection for its boxes"),
)
"""Tasks, patterns of the subfolders by which their published data is known, in small letters, and what else may be given."""

_NO_CLASS = frozenset(
    {"images", "image", "imgs", "masks", "mask", "labels", "annotations", "original", "ground truth", "groundtruth", "ground_truth", "gt"}
    | {"segmentations", "bbox"}
)
"""Names that folders of images or masks have, and classes have not."""


def check_data(data: Path) -> None:
    """Refuse a path to evaluation data that is not there.

    Raises:
        TaskError: there is neither a folder nor a file.
    """
    if not data.exists():
        raise TaskError(f"evaluation data {data} does not exist; give a folder or a CSV file")


def refuse_half_known(data: Path) -> None:
    """Refuse a folder that class folders would be read from, if it looks like something else.

    Raises:
        TaskError: it looks like the data of a known task, like boxes, like images beside masks, or like splits and other folders together.
    """
    for folder in (data, *subfolders(data)):
        names = {child.name.lower() for child in subfolders(folder)}
        for task, marks, more in _PUBLISHED:
            marked = [next((name for name in sorted(names) if re.fullmatch(mark, name)), "") for mark in marks]
            if all(marked):
                raise TaskError(f"{folder} looks like data of the task {task} (folders {_listed(marked)}); give --task {task}{more}")
    refuse_boxes(data)
    folders = subfolders(data)
    splits = [folder for folder in folders if split_of_folder(folder.name)]
    others = [folder for folder in folders if folder not in splits]
    if splits and others:
        raise TaskError(
            f"{data} has the splits {_listed(f.name for f in splits)} beside {_listed(f.name for f in others)}; "
            "expected splits alone, or classes alone: move the others away"
        )
    classes = [child for folder in splits for child in subfolders(folder)] if splits else others
    for folder in classes:
        inner = {child.name.lower() for child in subfolders(folder)}
        if {"images", "masks"} <= inner:
            raise TaskError(f"{folder} holds images/ and masks/, a set of its own; give that folder, or the name of its task with --task")
        if folder.name.lower() in _NO_CLASS:
            raise TaskError(
                f"{folder.parent} has a folder {folder.name!r} where a class was expected; "
                "expected a folder per class, or images/ and masks/ with equal paths inside and a split.csv"
            )


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder that hold an image, sorted; hidden ones and what macOS packs beside them are left out."""
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not _is_hidden(child.name))
    return [child for child in children if next(_images(child), None) is not None]


def image_files(folder: Path) -> list[Path]:
    """Image files under a folder, sorted, hidden ones left out."""
    return sorted(_images(folder))


def split_of_folder(name: str) -> str | None:
    """The split that a folder's name says, if it does."""
    try:
        return normalized_split(name)
    except TaskError:
        return None


def _images(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in IMAGE_SUFFIXES and not any(map(_is_hidden, path.relative_to(folder).parts)) and path.is_file():
            yield path


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
