"""Patches of Kvasir-SEG and CVC-ClinicDB: polyp or mucosa."""

from __future__ import annotations

from pathlib import Path

from evaluation.tasks.places import cvc_sequences, existing
from evaluation.tasks.readers import read_label_csv
from evaluation.tasks.task import Reading, Task

__all__ = ["PATCH_POLYP_VS_MUCOSA"]


def _patches(data: Path) -> Reading:
    table = existing("patch_polyp_vs_mucosa", [data / "splits" / "patch_polyp_vs_mucosa.csv", data / "patch_polyp_vs_mucosa.csv"])
    groups = {f"cvc_clinicdb/images/{name}": f"cvc sequence {sequence}" for name, sequence in cvc_sequences(data).items()}
    return read_label_csv(table, data, groups=groups), ()


PATCH_POLYP_VS_MUCOSA = Task(name="patch_polyp_vs_mucosa", data="of Kvasir-SEG and CVC-ClinicDB", read=_patches, kind="classification")
