"""What Endo-FM's code calls CVC-12k: frames of the 29 sequences of CVC-ClinicDB, read as sequences.

The set called CVC-12k, of CVC-ClinicVideoDB, is another one. The published lists leak: seven of the nine test sequences, 121 of 171
frames, are trained on too. Without `--protocol published` whole sequences are divided into five folds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evaluation.tasks.cvc_clinicdb import CVC_CLINICDB
from evaluation.tasks.items import TaskError
from evaluation.tasks.protocol import Protocol
from evaluation.tasks.task import Reading

__all__ = ["CVC12K"]


def _read(data: Path) -> Reading:
    try:
        return CVC_CLINICDB.read(data)
    except TaskError as error:
        raise TaskError(str(error).replace("task cvc_clinicdb:", "task cvc12k:")) from error


CVC12K = replace(
    CVC_CLINICDB,
    read=_read,
    name="cvc12k",
    data="CVC-ClinicDB as the sequences that Endo-FM calls CVC-12k: masks of polyps",
    protocol=Protocol(
        heads=("linear_segmentation",),
        metrics=("dice", "iou", "sequence_dice", "sequence_iou", "endofm_volume_dice"),
        primary="dice",
    ),
    splits=tuple(split for split in CVC_CLINICDB.splits if split.name == "endofm"),
)
