"""Labels that come back: our own `labels.csv`, exports of Label Studio (JSON, JSON-MIN, CSV) and of CVAT ("CVAT for images 1.1")."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from curation.labelling.class_names import UNUSABLE, check_class_name, one_spelling, tidy

__all__ = ["GivenLabels", "read_given"]

MOST_BYTES = 1 << 27
"""of a file of labels, or of its member in a zip: a hundred bytes each of a million frames"""

_IMAGE = re.compile(r"(?:^|[/\\=-])\d{5,}_([\w-]+)\.jpe?g$", re.IGNORECASE)
"""a picture's name as `image_name` makes it; Label Studio puts eight digits and a dash before those that are uploaded"""

_UNREADABLE = (csv.Error, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)  # of them an encrypted zip, and JSON nested too deep


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenLabels:
    """What people said of frames."""

    labels: Mapping[str, str]
    """by frame id, one spelling of each class"""
    unusable: tuple[str, ...]
    """frames that cannot be labelled, by their id"""
    num_open: int
    """frames in the files without a label"""
    respelled: Mapping[str, str] = field(default_factory=dict)
    """spellings that were read as another"""

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels that were given, sorted."""
        return tuple(sorted(set(self.labels.values())))


def read_given(files: Sequence[Path]) -> GivenLabels:
    """Read files of labels; a frame may stand in several of them.

    Raises:
        ValueError: a file is none of the formats, has no label or one that is no class name, or two labels are given to one frame.
        FileNotFoundError: there is no such file.
    """
    labels: dict[str, str] = {}
    still_open: set[str] = set()
    for path in files:
        num_rows, num_said = 0, 0
        for frame_id, text in _readable_rows(path):
            label = tidy(text)
            num_rows += 1
            if not label:
                still_open.add(frame_id)
                continue
            num_said += 1
            if label != UNUSABLE:
                check_class_name(label, f"{path} frame {frame_id}")
            if _same(labels.setdefault(frame_id, label)) != _same(label):
                raise ValueError(
                    f"{path} gives frame {frame_id} the label {label!r}, and it has {labels[frame_id]!r} already; give each frame one label"
                )
        if not num_said:
            raise ValueError(
                f"{path} has no label for any of its {num_rows} frames; fill in the column label, or use the settings written for the tool"
            )
    usable, respelled = one_spelling({frame_id: label for frame_id, label in labels.items() if label != UNUSABLE})
    return GivenLabels(
        labels=usable,
        unusable=tuple(sorted(labels.keys() - usable)),
        num_open=len(still_open - labels.keys()),
        respelled=respelled,
    )


def _same(label: str) -> str:
    """What two spellings of one class have in common."""
    return re.sub(r"^([-+]?\d+)\.0+$", r"\1", label).casefold()


def _readable_rows(path: Path) -> Iterator[tuple[str, str]]:
    """`_rows`, with one kind of error for all ways in which a file can be damaged."""
    if not path.is_file():
        raise FileNotFoundError(f"--given {str(path)!r} is no file; give a labels.csv, or an export of Label Studio or CVAT")
    if path.suffix.lower() != ".zip" and path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes, and {MOST_BYTES:,} are read at most; export it in several parts")
    try:
        yield from _rows(path)
    except _UNREADABLE as error:
        raise ValueError(f"{path} cannot be read ({error or type(error).__name__}); save or export it again, without a password") from error


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """(frame id, label) of each picture; the label is empty if there is none."""
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
        where, label = f"{path} line {line}", row[names["label"]] or ""
        if not label.strip() and not (row[place] or "").strip():
            continue  # what a spreadsheet keeps of an empty row
        yield _frame_id(row[place] or "", where, is_id=place == names.get("frame_id")), _one(_cell(label, where), where)


def _cell(label: str, where: str) -> list[str]:
    """The labels of a cell, in which Label Studio writes what is not one word as JSON."""
    if not label.lstrip().startswith(("{", "[")):
        return [label] if label.strip() else []
    try:
        value = json.loads(label)
    except ValueError:
        return [label]
    return _said(value, where)


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
        if not isinstance(data, dict):
            raise ValueError(f"{where} has the data {data!r}, expected an object with image; export from Label Studio as JSON or JSON-MIN")
        frame_id = _frame_id(str(data.get("frame_id") or data.get("image") or ""), where, is_id=bool(data.get("frame_id")))
        if "data" not in task:
            yield frame_id, _one(_said(task.get("label"), where), where)
            continue
        annotations = _objects(task.get("annotations"), where)
        made = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
        results = [result for annotation in made for result in _objects(annotation.get("result"), where)]
        said = [label for result in results if _has_choices(result) for label in _said(result["value"], where)]
        if results and not said:
            raise ValueError(f"{where} has annotations and none of them is a choice; label with the choices of config.xml, one a frame")
        yield frame_id, UNUSABLE if annotations and not made else _one(said, where)


def _objects(value: Any, where: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError(f"{where} has {str(value)[:60]!r}, expected a list of annotations; export from Label Studio as JSON or JSON-MIN")
    return value


def _has_choices(result: dict[str, Any]) -> bool:
    return isinstance(result.get("value"), dict) and "choices" in result["value"]


def _said(value: Any, where: str) -> list[str]:
    """The labels in a value of Label Studio: a word, a list of them, or choices."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [label for one in value for label in _said(one, where)]
    if isinstance(value, dict) and "choices" in value:
        return _said(value["choices"], where)
    raise ValueError(f"{where} has {str(value)[:60]!r} for a label, which is no choice; label with the choices of config.xml, one a frame")


def _cvat(path: Path, text: bytes) -> Iterator[tuple[str, str]]:
    """Tags of images."""
    plain = text.replace(b"\0", b"")  # of UTF-16 too
    if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:
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
        tags = [tag.get("label", "") for tag in image.findall("tag")]
        if len(image) and not tags:
            shapes = ", ".join(sorted({shape.tag for shape in image}))
            raise ValueError(
                f"{path} {name} has shapes ({shapes}) and no tag; give the frame one tag, because its label is of the whole picture"
            )
        yield _frame_id(name, str(path), is_id=False), _one(tags, f"{path} {name}")


def _annotations_in(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            if (size := archive.getinfo("annotations.xml").file_size) > MOST_BYTES:
                raise ValueError(
                    f"{path} has an annotations.xml of {size:,} bytes, and {MOST_BYTES:,} are read at most; export single jobs"
                )
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
