"""Read labelled images from the three layouts people keep them in: class folders, a CSV, images beside masks."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.layout import IMAGE_SUFFIXES, image_files, split_of_folder, subfolders
from evaluation.tasks.splits import normalized_split
from evaluation.tasks.table_paths import TablePaths

__all__ = [
    "IMAGE_SUFFIXES",
    "image_files",
    "label_table",
    "mask_folders",
    "read_class_folders",
    "read_label_csv",
    "read_mask_folders",
    "read_rows",
]

_COLUMNS = {
    "path": ("path", "image", "file", "filename", "imagepath", "imagefile", "filepath", "imagename"),
    "label": ("label", "class", "classname", "grade", "target"),
    "mask": ("mask", "maskpath"),
    "split": ("split", "subset", "partition"),
    "device": ("device", "deviceid", "devicename", "endoscope", "scope", "processor", "manufacturer", "manufacturermodelname"),
    "site": ("site", "siteid", "centre", "center", "centreid", "centerid", "hospital", "institution", "institutionname", "clinic"),
    "group": (
        *("group", "groupid", "patient", "patientid", "pid", "subject", "subjectid", "participant", "participantid", "case", "caseid"),
        *("study", "studyid", "studyinstanceuid", "exam", "examid", "examination", "examinationid", "procedure", "procedureid"),
        *("sequence", "sequenceid", "video", "videoid", "videofile", "seriesinstanceuid"),
    ),
}
"""Names of the columns of a role, the first that is there counts; case, spaces, underscores, dashes and points are passed over."""

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
    names = _names(rows)
    roles = {role: names[alias] for role, aliases in _COLUMNS.items() for alias in reversed(aliases) if alias in names}
    roles.update({side: names[side] for side in _BOX if all(s in names for s in _BOX)})
    return rows, roles


def read_label_csv(table: Path, root: Path, *, groups: Mapping[str, str] | None = None) -> list[Item]:
    """Items of a CSV of (path, label[, split][, group][, x, y, w, h]).

    Args:
        table: the CSV.
        root: folder that relative image paths start from, and that holds all images.
        groups: group of an image by its path as written in the CSV, for tables that have no such column.

    Raises:
        TaskError: a column or value is missing or wrong, or a path leaves `root`.
    """
    return label_table(table, root, groups=groups)[0]


def label_table(table: Path, root: Path, *, groups: Mapping[str, str] | None = None) -> tuple[list[Item], tuple[str, ...]]:
    """As `read_label_csv`, with notes on what was corrected and which column gives the groups."""
    rows, roles = read_rows(table)
    for role in ("path", "label"):
        if role not in roles:
            known = {"path": "path or image or file", "label": "label or class or class-name"}[role]
            raise TaskError(f"{table} has columns {', '.join(map(str, rows[0]))} but none called {known}; rename one")
    items, paths = [], TablePaths(table, root)
    for number, row in enumerate(rows, start=2):
        name, label = row[roles["path"]], row[roles["label"]]
        if not name.strip() or not label.strip():
            raise TaskError(f"{table} line {number} has no {'label' if name.strip() else 'path'}; complete or remove it")
        path = paths.find(name, number)
        items.append(
            Item(
                path=path,
                label=label,
                split=_split(row, roles),
                group=_group(row, roles, name, groups) or path,
                box=_box(row, roles, table),
                device=_told(row, roles, "device"),
                site=_told(row, roles, "site"),
            )
        )
    return items, (*paths.notes, *_group_note(rows, roles))


def read_class_folders(root: Path) -> list[Item]:
    """Items of `<class>/<image>` folders, or `<train|val|test>/<class>/<image>` ones; nested folders belong to their class."""
    folders = subfolders(root)
    splits = {folder: split_of_folder(folder.name) for folder in folders}
    parts: list[tuple[Path, str]]
    if folders and all(splits.values()):
        parts = [(child, str(splits[folder])) for folder in folders for child in subfolders(folder)]
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
    """Items of `images/` and `masks/`, joined by their paths inside without the extension.

    Args:
        root: folder that holds both.
        table: CSV of (image[, mask][, split][, group]); the images it does not name are left out.
        groups: group of an image by its file name, for tables that have no such column.

    Raises:
        TaskError: there are no images or masks, a column is missing, or a path leaves `root`.
    """
    return mask_folders(root, table, groups=groups)[0]


def mask_folders(root: Path, table: Path | None = None, *, groups: Mapping[str, str] | None = None) -> tuple[list[Item], tuple[str, ...]]:
    """As `read_mask_folders`, with notes on masks that are left over and on groups.

    Without a table, folders inside `images/` that are called train, val and test are the splits, and other ones the groups.
    """
    found, masks = image_files(root / "images"), {_inner(root / "masks", path): path for path in image_files(root / "masks")}
    if not found or not masks:
        raise TaskError(f"{root} has {len(found)} images and {len(masks)} masks; expected images/ and masks/ with equal file stems")
    if table is not None:
        return _named_pairs(root, table, found, masks, groups)
    folders = {path: path.relative_to(root / "images").parent for path in found}
    tops = {folder.parts[0] for folder in folders.values() if folder.parts}
    are_splits = bool(tops) and all(folder.parts and split_of_folder(folder.parts[0]) for folder in folders.values())
    items = []
    for path in found:
        folder = folders[path]
        given = groups.get(path.name) if groups is not None else None
        group = given or (str(folder.as_posix()) if folder.parts and not are_splits else str(path))
        mask = masks.get(_inner(root / "images", path), root / "masks" / folder / path.name)
        split = str(split_of_folder(folder.parts[0])) if are_splits else ""
        items.append(Item(path=str(path), mask=str(mask), split=split, group=group))
    notes = () if not tops or are_splits or groups else (f"groups: the {len(set(folders.values()))} folders inside images/",)
    return items, (*_left_over(items, masks), *notes)


def _named_pairs(
    root: Path, table: Path, found: list[Path], masks: Mapping[str, Path], groups: Mapping[str, str] | None
) -> tuple[list[Item], tuple[str, ...]]:
    """Items of a table, whose images are named by file name, by path inside `images/` or by path."""
    rows, roles = read_rows(table)
    if "path" not in roles:
        raise TaskError(f"{table} has columns {', '.join(map(str, rows[0]))} but none called image or file; rename one")
    folder = root / "images"
    shared = Counter(path.name for path in found)
    images = {path.name: path for path in found if shared[path.name] == 1} | {path.relative_to(folder).as_posix(): path for path in found}
    items, paths = [], TablePaths(table, root)
    for number, row in enumerate(rows, start=2):
        name = row[roles["path"]]
        if shared[name] > 1 and name not in images:
            raise TaskError(f"{table} line {number}: {shared[name]} images are called {name!r}; name it by its path inside images/")
        path = images.get(name) or images.get(name.strip()) or Path(paths.find(name, number))
        named = row[roles["mask"]] if "mask" in roles else ""
        joined = masks.get(_inner(folder, path)) if path.is_relative_to(folder) else masks.get(path.stem)
        mask = _named_mask(root, named, paths, number) if named else joined or root / "masks" / path.name
        group = _group(row, roles, path.name, groups) or str(path)
        items.append(
            Item(
                path=str(path),
                mask=str(mask),
                split=_split(row, roles),
                group=group,
                device=_told(row, roles, "device"),
                site=_told(row, roles, "site"),
            )
        )
    return items, (*paths.notes, *_group_note(rows, roles))


def _left_over(items: list[Item], masks: Mapping[str, Path]) -> tuple[str, ...]:
    used = {item.mask for item in items}
    left = sorted(inner for inner, path in masks.items() if str(path) not in used)
    return (f"{len(left):,} masks have no image, such as {left[0]!r}",) if left else ()


def _inner(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]+", "", name).casefold()


def _names(rows: list[dict[str, str]]) -> dict[str, str]:
    return {_plain(str(name)): str(name) for name in reversed(list(rows[0]))}


def _group_note(rows: list[dict[str, str]], roles: Mapping[str, str]) -> tuple[str, ...]:
    names = _names(rows)
    there = [names[alias] for alias in _COLUMNS["group"] if alias in names]
    return (f"groups: by the column {roles['group']!r}, not by {', '.join(map(repr, there[1:]))}",) if len(there) > 1 else ()


def _split(row: Mapping[str, str], roles: Mapping[str, str]) -> str:
    return (normalized_split(row[roles["split"]]) if "split" in roles else None) or ""


def _group(row: Mapping[str, str], roles: Mapping[str, str], name: str, groups: Mapping[str, str] | None) -> str | None:
    if "group" in roles and row[roles["group"]].strip():
        return row[roles["group"]].strip()
    return groups.get(name) if groups is not None else None


def _told(row: Mapping[str, str], roles: Mapping[str, str], role: str) -> str:
    return row[roles[role]].strip() if role in roles else ""


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


def _named_mask(root: Path, name: str, paths: TablePaths, line: int) -> Path:
    inside = root / "masks" / name
    return inside if inside.is_file() and ".." not in inside.parts else Path(paths.find(name, line))
