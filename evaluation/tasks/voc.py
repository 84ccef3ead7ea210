"""Boxes of one frame in Pascal VOC's XML, read without trusting it: no document types, no entities, no large files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from evaluation.tasks.items import TaskError

__all__ = ["VocBox", "VocFrame", "object_names", "read_voc"]

_MOST_BYTES = 1 << 20
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class VocBox:
    """One object."""

    corners: tuple[float, float, float, float]
    """x1, y1, x2, y2 from the left upper corner: VOC counts pixels from 1 and its last row and column are inside"""
    name: str
    unique_id: str
    """which object it is in all frames, as REAL-Colon says it; empty elsewhere"""


@dataclass(frozen=True, slots=True)
class VocFrame:
    """What one file says of a frame."""

    boxes: tuple[VocBox, ...]
    num_degenerate: int
    """boxes without width or height, which are left out"""


def read_voc(path: Path, *, names: Mapping[str, str]) -> VocFrame:
    """The objects of an annotation; a file without any is a frame that shows nothing.

    Args:
        path: of the XML.
        names: class by the name that the file has for it, in small letters.

    Raises:
        TaskError: the file is missing, too large or no XML, has a document type, or an object has no box or an unknown name.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TaskError(f"annotation {str(path)!r} cannot be read ({error.strerror}); unpack it beside the frames") from error
    if len(data) > _MOST_BYTES:
        raise TaskError(f"annotation {str(path)!r} has {len(data):,} bytes; expected the boxes of one frame, at most {_MOST_BYTES:,}")
    try:
        objects, root = _objects(data)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise TaskError(f"annotation {str(path)!r} is no whole XML ({error}); unpack it again") from error
    if root != "annotation":
        raise TaskError(f"annotation {str(path)!r} has the root {root!r}; expected VOC's 'annotation'")
    boxes, num_degenerate = [], 0
    for found in objects:
        name = names.get(found.get("name", "").strip().casefold())
        if name is None:
            raise TaskError(f"annotation {str(path)!r} names an object {found.get('name', '')!r}; expected {', '.join(names)}")
        x1, y1, x2, y2 = _sides(found, path)
        if x2 <= x1 or y2 <= y1:
            num_degenerate += 1
            continue
        boxes.append(VocBox((max(x1 - 1, 0.0), max(y1 - 1, 0.0), x2, y2), name, found.get("unique_id", "").strip()))
    return VocFrame(tuple(boxes), num_degenerate)


def object_names(path: Path) -> frozenset[str] | None:
    """What the objects of a file are called, in small letters; None if it is no annotation of VOC's that can be read."""
    try:
        with path.open("rb") as file:
            objects, root = _objects(file.read(_MOST_BYTES))
    except (OSError, expat.ExpatError, LookupError, ValueError):
        return None
    return frozenset(found.get("name", "").strip().casefold() for found in objects) if root == "annotation" else None


def _sides(found: Mapping[str, str], path: Path) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(found[side]) for side in _SIDES)
    except (KeyError, ValueError) as error:
        raise TaskError(f"annotation {str(path)!r} has an object without four numbers in bndbox ({error}); correct it") from error
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise TaskError(f"annotation {str(path)!r} has a box ({x1}, {y1}, {x2}, {y2}); give finite numbers")
    return x1, y1, x2, y2


def _objects(data: bytes) -> tuple[list[dict[str, str]], str]:
    """Texts of each `object` element by their tag (those of its own `bndbox` too), and the tag of the root."""
    open_tags: list[str] = []
    objects: list[dict[str, str]] = []
    roots: list[str] = []
    parser = expat.ParserCreate()

    def start(tag: str, _: Mapping[str, str]) -> None:
        if not open_tags:
            roots.append(tag)
        open_tags.append(tag)
        if open_tags[1:] == ["object"]:
            objects.append({})

    def end(_: str) -> None:
        open_tags.pop()

    def text(value: str) -> None:
        inside = open_tags[1:]
        if inside[:1] == ["object"] and (len(inside) == 2 or (len(inside) == 3 and inside[1] == "bndbox")):
            objects[-1][inside[-1]] = objects[-1].get(inside[-1], "") + value

    def refuse(*_: object) -> NoReturn:
        raise ValueError("it has a document type, which an annotation does not need")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(data, True)
    return objects, roots[0]
