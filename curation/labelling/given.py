"""Labels that come back: our own `labels.csv`, exports of Label Studio (JSON, JSON-MIN, CSV) and of CVAT ("CVAT for images 1.1")."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

__all__ = ["UNUSABLE", "GivenLabels", "read_given"]

UNUSABLE = "-"
"""the label of a frame that cannot be labelled; it is not offered again"""

_IMAGE = re.compile(r"(?:^|[/\\=-])\d{5,}_([\w-]+)\.jpe?g$", re.IGNORECASE)
"""a picture's name as `image_name` makes it; Label Studio puts eight digits and a dash before those that are uploaded"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenLabels:
    """What people said of frames."""

    labels: Mapping[str, str]
    """by frame id"""
    unusable: tuple[str, ...]
    """frames that cannot be labelled, by their id"""
    num_open: int
    """frames in the files without a label"""

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels that were given, sorted."""
        return tuple(sorted(set(self.labels.values())))


def read_given(files: Sequence[Path]) -> GivenLabels:
    """Read files of labels; a frame may stand in several of them.

    Raises:
        ValueError: a file is none of the formats, or two labels are given to one frame.
        FileNotFoundError: there is no such file.
    """
    labels: dict[str, str] = {}
    still_open: set[str] = set()
    for path in files:
        for frame_id, text in _rows(path):
            label = unicodedata.normalize("NFC", text).strip()
            if not label:
                still_open.add(frame_id)
            elif labels.setdefault(frame_id, label) != label:
                raise ValueError(
                    f"{path} gives frame {frame_id} the label {label!r}, and it has {labels[frame_id]!r} already; give each frame one label"
                )
    usable = {frame_id: label for frame_id, label in labels.items() if label != UNUSABLE}
    return GivenLabels(labels=usable, unusable=tuple(sorted(labels.keys() - usable)), num_open=len(still_open - labels.keys()))


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """(frame id, label) of each picture; the label is empty if there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"--given {str(path)!r} is no file; give a labels.csv, or an export of Label Studio or CVAT")
    kind = path.suffix.lower()
    if kind == ".zip":
        yield from _cvat(path, _annotations_in(path))
    elif kind == ".xml":
        yield from _cvat(path, path.read_bytes())
    elif kind == ".json":
        yield from _label_studio(path)
    elif kind == ".csv":
        yield from _table(path)
    else:
        raise ValueError(f"--given {str(path)!r} ends in {kind or 'nothing'}; give .csv, .json (Label Studio), .xml or .zip (CVAT)")


def _table(path: Path) -> Iterator[tuple[str, str]]:
    """Our own table and Label Studio's CSV: a column `label`, and the frame by `frame_id`, `path` or `image`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error}); save it as CSV in UTF-8") from error
    header = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if ";" in header and "," not in header else ",")
    names = {name.strip().lower(): name for name in rows.fieldnames or () if name}
    place = next((names[name] for name in ("frame_id", "path", "image") if name in names), None)
    if place is None or "label" not in names:
        raise ValueError(f"{path} has the columns {', '.join(names) or 'none'}; it needs label, and frame_id, path or image")
    for line, row in enumerate(rows, start=2):
        label = row[names["label"]] or ""
        if label.lstrip().startswith("{"):
            raise ValueError(f"{path} line {line} has several labels ({label}); give each frame one label")
        yield _frame_id(row[place] or "", f"{path} line {line}", is_id=place == names.get("frame_id")), label


def _label_studio(path: Path) -> Iterator[tuple[str, str]]:
    """JSON has annotations as people made them, JSON-MIN the label alone; a task that was skipped is unusable."""
    try:
        tasks = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); export from Label Studio as JSON or JSON-MIN") from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ValueError(f"{path} is no list of tasks; export from Label Studio as JSON or JSON-MIN")
    for number, task in enumerate(tasks, start=1):
        where = f"{path} task {number}"
        data = task.get("data", task)
        frame_id = _frame_id(str(data.get("frame_id") or data.get("image") or ""), where, is_id="frame_id" in data)
        if "data" not in task:
            label = task.get("label", "")
            yield frame_id, label if isinstance(label, str) else _one(_choices_of(label), where)
            continue
        annotations = task.get("annotations") or []
        made = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
        said = [choice for annotation in made for result in annotation.get("result", ()) for choice in _choices_of(result.get("value"))]
        yield frame_id, UNUSABLE if annotations and not made else _one(said, where)


def _choices_of(value: Any) -> list[str]:
    return [str(choice) for choice in value.get("choices", ())] if isinstance(value, dict) else []


def _cvat(path: Path, text: bytes) -> Iterator[tuple[str, str]]:
    """Tags of images."""
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise ValueError(f"{path} declares a document type, which no export of CVAT does; export it again as CVAT for images 1.1")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is no XML ({error}); export from CVAT as CVAT for images 1.1") from error
    images = root.findall("image")
    if root.tag != "annotations" or not images:
        raise ValueError(f"{path} has no images; export from CVAT as CVAT for images 1.1, not for video")
    for image in images:
        name = image.get("name", "")
        yield _frame_id(name, str(path), is_id=False), _one([tag.get("label", "") for tag in image.findall("tag")], f"{path} {name}")


def _annotations_in(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read("annotations.xml")
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{path} is no zip with annotations.xml ({error}); export from CVAT as CVAT for images 1.1") from error


def _one(labels: Sequence[str], where: str) -> str:
    if len(different := sorted(set(labels))) > 1:
        raise ValueError(f"{where} has the labels {' and '.join(map(repr, different))}; give each frame one label")
    return labels[0] if labels else ""


def _frame_id(text: str, where: str, *, is_id: bool) -> str:
    if is_id and text.strip():
        return text.strip()
    found = _IMAGE.search(unquote(text.strip()))
    if not found:
        raise ValueError(f"{where} names the picture {text!r}, which is none that select-for-labels wrote; keep the names of its images")
    return found[1]
