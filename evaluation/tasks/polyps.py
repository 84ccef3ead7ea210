"""The phantom's polyps: `polyps/images` and `polyps/masks`."""

from __future__ import annotations

from pathlib import Path

from evaluation.tasks.places import existing
from evaluation.tasks.readers import read_mask_folders
from evaluation.tasks.task import Reading, Task

__all__ = ["POLYPS"]


def _polyps(data: Path) -> Reading:
    folder = existing("polyps", [data / "polyps" / "images", data / "images"]).parent
    table = folder / "split.csv"
    return read_mask_folders(folder, table if table.is_file() else None), ()


POLYPS = Task(name="polyps", data="masks of the phantom's polyps", read=_polyps, kind="segmentation")
