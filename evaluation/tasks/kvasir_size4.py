"""Kvasir-SEG by the size of the polyp: quartiles of mask area."""

from __future__ import annotations

from pathlib import Path

from evaluation.tasks.places import existing
from evaluation.tasks.readers import read_label_csv
from evaluation.tasks.task import Reading, Task

__all__ = ["KVASIR_SIZE4"]


def _kvasir_size4(data: Path) -> Reading:
    table = existing("kvasir_size4", [data / "splits" / "kvasir_size4.csv", data / "kvasir_size4.csv"])
    return read_label_csv(table, data), ("classes are quartiles of mask area, not clinical grades",)


KVASIR_SIZE4 = Task(name="kvasir_size4", data="Kvasir-SEG: quartiles of mask area", read=_kvasir_size4, kind="ordinal")
