"""Kvasir-SEG's polyp masks, in the split of EffiSegNet if its table is there."""

from __future__ import annotations

from pathlib import Path

from evaluation.tasks.places import existing
from evaluation.tasks.readers import read_mask_folders
from evaluation.tasks.task import NO_PATIENTS, Reading, Task

__all__ = ["KVASIR_SEG"]


def _kvasir_seg(data: Path) -> Reading:
    folder = existing("kvasir_seg", [data / "kvasir_seg" / "images", data / "Kvasir-SEG" / "images", data / "images"]).parent
    tables = [data / "splits" / "kvasir_seg_effisegnet_split.csv", folder / "split.csv"]
    table = next((t for t in tables if t.is_file()), None)
    return read_mask_folders(folder, table), (NO_PATIENTS,)


KVASIR_SEG = Task(name="kvasir_seg", data="Kvasir-SEG: masks of polyps", read=_kvasir_seg, kind="segmentation")
