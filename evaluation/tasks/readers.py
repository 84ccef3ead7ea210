"""Read labelled images from the three layouts people keep them in: class folders, a CSV, images beside masks."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from evaluation.config import TaskKind
from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.splits import normalized_split

__all__ = [
    "IMAGE_SUFFIXES",
    "classes_of",
    "image_files",
    "kind_of",
    "read_class_folders",
    "read_label_csv",
    "read_mask_folders",
    "read_rows",
]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

_COLUMNS = {
    "path": ("path", "image", "file", "filename", "file-name", "file_name", "image_path"),
    "label": ("label", "class", "class-name", "class_name", "grade", "target"),
    "mask": ("mask", "mask_path"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "patient", "patient_id", "sequence", "video", "video_id", "case"),
}
_BOX = ("x", "y", "w", "h")


def read_rows(table: Path) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Rows of a comma- or semicolon-separated table with a header, and which column plays which role.

    Raises:
        TaskError: the table is not UTF-8 text, or has no rows.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            rows = list(csv.DictReader(file, delimiter=";" if ";" in header and "," not in header else ",", strict=True, restval=""))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TaskError(f"{table} is not a UTF-8 table with a header line ({error}); save it as CSV") from error
    if not rows:
        raise TaskError(f"{table} has no rows; it needs a header line and one line per image")
    names = {str(name).strip().lower(): str(name) for name in rows[0]}
    roles = {role: names[alias] for role, aliases in _COLUMNS.items() for alias in reversed(aliases) if alias in names}
    roles.update({side: names[side] for side in _BOX if all(s in names for s in _BOX)})
    return rows, roles


def read_label_csv(table: Path, root: Path, *, groups: Mapping[str, str] | None = None) -> list[Item]:
    """Items of a CSV of (path, label[, split][, group][, x, y, w, h]).

    Args:
        table: the CSV.
        root: folder that relative image paths start from.
        groups: group of an image by its path as written in the CSV, for tables that have no such column.
    """
    rows, roles = read_rows(table)
    for role in ("path", "label"):
        if role not in roles:
            raise TaskError(
                f"{table} has columns {', '.join(map(str, rows[0]))} but none called {' or '.join(_COLUMNS[role][:3])}; rename one"
            )
    items = []
    for number, row in enumerate(rows, start=2):
        name, label = row[roles["path"]], row[roles["label"]].strip()
        if not name or not label:
            raise TaskError(f"{table} line {number} has no {'label' if name else 'path'}; complete or remove it")
        path = str(root / name)
        items.append(
            Item(
                path=path,
                label=label,
                split=_split(row, roles),
                group=_group(row, roles, name, groups) or path,
                box=_box(row, roles, table),
            )
        )
    return items


def read_class_folders(root: Path) -> list[Item]:
    """Items of `<class>/<image>` folders, or `<train|val|test>/<class>/<image>` ones; nested folders belong to their class."""
    folders = _subfolders(root)
    splits = {folder: _split_of_folder(folder.name) for folder in folders}
    parts: list[tuple[Path, str]]
    if folders and all(splits.values()):
        parts = [(child, str(splits[folder])) for folder in folders for child in _subfolders(folder)]
    else:
        parts = [(folder, "") for folder in folders]
    items = [
        Item(path=str(path), label=folder.name, split=split, group=str(path)) for folder, split in parts for path in image_files(folder)
    ]
    if not items:
        raise TaskError(
            f"{root} holds no labelled images; expected a folder per class, a labels.csv of path,label,split,group, or images/ and masks/"
        )
    return items


def read_mask_folders(root: Path, table: Path | None = None, *, groups: Mapping[str, str] | None = None) -> list[Item]:
    """Items of `images/` and `masks/`, joined by stem whatever the extensions.

    Args:
        root: folder that holds both.
        table: CSV of (image[, mask][, split][, group]); the images it does not name are left out.
        groups: group of an image by its file name, for tables that have no such column.
    """
    images = {path.name: path for path in image_files(root / "images")}
    masks = {path.stem: path for path in image_files(root / "masks")}
    if not images or not masks:
        raise TaskError(f"{root} has {len(images)} images and {len(masks)} masks; expected images/ and masks/ with equal file stems")
    rows: list[dict[str, str]] = [{"image": name} for name in images]
    roles = {"path": "image"}
    if table is not None:
        rows, roles = read_rows(table)
        if "path" not in roles:
            raise TaskError(f"{table} has columns {', '.join(map(str, rows[0]))} but none called image or file; rename one")
    items = []
    for row in rows:
        name = row[roles["path"]]
        path = images.get(name, root / name)
        named = row[roles["mask"]] if "mask" in roles else ""
        mask = _named_mask(root, named) if named else masks.get(path.stem, root / "masks" / path.name)
        group = _group(row, roles, path.name, groups) or str(path)
        items.append(Item(path=str(path), mask=str(mask), split=_split(row, roles), group=group))
    return items


def classes_of(items: list[Item]) -> tuple[str, ...]:
    """Class names in class-index order: by their number where all end in one, else by name."""
    names = sorted({item.label for item in items if item.label is not None})
    numbers = [_trailing_number(name) for name in names]
    if all(number is not None for number in numbers):
        names.sort(key=lambda name: (_trailing_number(name)[0], _trailing_number(name)[1]))  # type: ignore[index]
    return tuple(names)


def kind_of(items: list[Item]) -> TaskKind:
    """Segmentation where items have masks, ordinal where three or more classes are one name with different numbers, else classification."""
    if any(item.mask is not None for item in items):
        return "segmentation"
    numbered = [_trailing_number(name) for name in classes_of(items)]
    same_stem = len({number[0] if number else None for number in numbered}) == 1
    return "ordinal" if len(numbered) >= 3 and same_stem and all(numbered) else "classification"


def image_files(folder: Path) -> list[Path]:
    """Image files under a folder, sorted, hidden ones left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file())


def _trailing_number(name: str) -> tuple[str, int] | None:
    match = re.fullmatch(r"(.*?)(\d{1,9})", name, flags=re.DOTALL)
    return (match[1], int(match[2])) if match else None


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _split_of_folder(name: str) -> str | None:
    try:
        return normalized_split(name)
    except TaskError:
        return None


def _split(row: Mapping[str, str], roles: Mapping[str, str]) -> str:
    return (normalized_split(row[roles["split"]]) if "split" in roles else None) or ""


def _group(row: Mapping[str, str], roles: Mapping[str, str], name: str, groups: Mapping[str, str] | None) -> str | None:
    if "group" in roles and row[roles["group"]]:
        return row[roles["group"]]
    return groups.get(name) if groups is not None else None


def _box(row: Mapping[str, str], roles: Mapping[str, str], table: Path) -> tuple[int, int, int, int] | None:
    if "x" not in roles or not row[roles["x"]]:
        return None
    try:
        x, y, w, h = (int(row[roles[side]]) for side in _BOX)
    except ValueError as error:
        raise TaskError(f"{table}: a crop box is not four whole numbers ({error}); correct the x, y, w, h columns") from error
    if x < 0 or y < 0 or w < 1 or h < 1:
        raise TaskError(f"{table}: crop box x={x} y={y} w={w} h={h} is empty or outside the image; correct it")
    return x, y, w, h


def _named_mask(root: Path, name: str) -> Path:
    inside = root / "masks" / name
    return inside if inside.is_file() else root / name
