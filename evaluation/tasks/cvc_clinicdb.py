"""CVC-ClinicDB's polyp masks, split by sequence."""

from __future__ import annotations

from pathlib import Path

from evaluation.tasks.items import TaskError
from evaluation.tasks.places import cvc_sequences, existing
from evaluation.tasks.readers import read_mask_folders
from evaluation.tasks.task import Reading, Task

__all__ = ["CVC_CLINICDB"]


def _cvc_clinicdb(data: Path) -> Reading:
    folder = existing("cvc_clinicdb", [data / "cvc_clinicdb" / "images", data / "images"]).parent
    sequences = cvc_sequences(data)
    if not sequences:
        raise TaskError(f"task cvc_clinicdb: splits/cvc_clinicdb_sequences.csv is not under {data}; without it sequences would leak")
    return read_mask_folders(folder, None, groups=sequences), ()


CVC_CLINICDB = Task(name="cvc_clinicdb", data="CVC-ClinicDB: masks of polyps", read=_cvc_clinicdb, kind="segmentation")
