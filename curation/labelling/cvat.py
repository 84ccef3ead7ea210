"""Frames as a dataset of CVAT: the format "CVAT for images 1.1", pictures and annotations.xml in one zip, a label of type tag a class."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from curation.labelling.chosen import ChosenFrame
from warehouse.store import atomic_file, write_json

__all__ = ["write_cvat"]


def write_cvat(
    folder: Path, frames: Sequence[ChosenFrame], classes: Sequence[str], *, name: str, read_picture: Callable[[str], bytes]
) -> None:
    """Write `dataset.zip`, which a project of CVAT imports, and `labels.json`, which its field "Raw" takes for a new project.

    Args:
        folder: to write them to.
        frames: in the order in which they are to be labelled; their names sort so, and CVAT numbers images by name.
        classes: that a frame can have; none leaves the labels for a person to name in CVAT.
        name: of the task.
        read_picture: gives the JPEG of a frame by its id.
    """
    write_json(folder / "labels.json", [{"name": label, "type": "tag", "attributes": []} for label in classes])
    with atomic_file(folder / "dataset.zip") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for frame in frames:
            _add(archive, f"images/{frame.image}", read_picture(frame.frame_id))
        _add(archive, "annotations.xml", _annotations(frames, classes, name))


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """The time of a member is fixed, so that the same frames always have the same bytes."""
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.external_attr = 0o644 << 16
    archive.writestr(member, data)


def _annotations(frames: Sequence[ChosenFrame], classes: Sequence[str], name: str) -> bytes:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    for tag, text in (("id", "1"), ("name", name), ("size", str(len(frames))), ("mode", "annotation"), ("overlap", "0")):
        ElementTree.SubElement(task, tag).text = text
    labels = ElementTree.SubElement(task, "labels")
    for class_name in classes:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = class_name
        ElementTree.SubElement(label, "type").text = "tag"
        ElementTree.SubElement(label, "attributes")
    for number, frame in enumerate(frames):
        ElementTree.SubElement(root, "image", id=str(number), name=frame.image, width=str(frame.width), height=str(frame.height))
    ElementTree.indent(root)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + bytes(ElementTree.tostring(root, encoding="utf-8")) + b"\n"
