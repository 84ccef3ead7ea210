"""Frames as tasks of Label Studio: its JSON of tasks, and the labelling interface with one choice a class.

Pictures are named by the addresses under which Label Studio serves local files: `/data/local-files/?d=` and the path below its document
root, which is to be the folder that holds the folder of this labelling.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from curation.labelling.chosen import IMAGES, ChosenFrame
from warehouse.store import atomic_file, write_json

__all__ = ["write_label_studio"]


def write_label_studio(folder: Path, frames: Sequence[ChosenFrame], classes: Sequence[str], *, folder_name: str) -> None:
    """Write `tasks.json` and `config.xml`.

    Args:
        folder: to write them to.
        frames: in the order in which they are to be labelled.
        classes: that a frame can have; none leaves the choices for a person to write.
        folder_name: of the folder that holds `images`, below the document root.
    """
    tasks = [
        {
            "data": {
                "image": f"/data/local-files/?d={quote(f'{folder_name}/{IMAGES}/{frame.image}')}",
                "frame_id": frame.frame_id,
                "reason": frame.reason,
            }
        }
        for frame in frames
    ]
    write_json(folder / "tasks.json", tasks)
    with atomic_file(folder / "config.xml") as file:
        file.write(_interface(classes))


def _interface(classes: Sequence[str]) -> bytes:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true")
    choices = ElementTree.SubElement(view, "Choices", name="label", toName="image", choice="single", showInline="true")
    if not classes:
        choices.append(ElementTree.Comment(' one line a class: <Choice value="polyp"/> '))
    for name in classes:
        ElementTree.SubElement(choices, "Choice", value=name)
    ElementTree.indent(view)
    return bytes(ElementTree.tostring(view, encoding="utf-8")) + b"\n"
