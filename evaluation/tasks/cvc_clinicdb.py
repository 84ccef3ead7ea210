"""CVC-ClinicDB's polyp masks, split by sequence.

The 612 frames are numbered through 29 sequences, whose first frames the data set's own description gives. Two published divisions leak:
that of Endo-FM's code, which its followers share, names seven of its nine test sequences for training too, and SSL4GIE draws frames one
by one.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from pathlib import Path

from evaluation.tasks.expected import Expected
from evaluation.tasks.image_level import draw_image_level
from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.places import cvc_sequences, mask_pairs
from evaluation.tasks.split_protocol import SplitProtocol
from evaluation.tasks.task import Reading, Task

__all__ = ["CVC_CLINICDB", "NUM_FRAMES"]

NUM_FRAMES = 612

FIRST_FRAMES = (
    *(1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298),
    *(318, 343, 364, 384, 409, 429, 448, 467, 479, 504, 529, 547, 572, 592),
)
"""First frame of each of the 29 sequences."""

ENDOFM_TRAIN = (2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 17, 18, 21, 22, 23, 24, 26, 28, 29)
ENDOFM_TEST = (1, 3, 4, 9, 10, 13, 16, 17, 21)
"""Sequences in TransUNet/dataset.py of github.com/med-air/Endo-FM at 206427e; seven stand in both."""

LAYOUTS = (("images", "masks"), ("Original", "Ground Truth"), ("TIF/Original", "TIF/Ground Truth"), ("PNG/Original", "PNG/Ground Truth"))
ROOTS = ("", "cvc_clinicdb", "CVC-ClinicDB")


def _read(data: Path) -> Reading:
    for root in (data / name for name in ROOTS):
        for images, masks in LAYOUTS:
            if (root / images).is_dir() and (root / masks).is_dir():
                return _with_sequences(data, mask_pairs("cvc_clinicdb", root / images, root / masks)), ()
    raise TaskError(f"task cvc_clinicdb: no folders Original and Ground Truth, or images and masks, under {data}; give the folder of both")


def _with_sequences(data: Path, items: list[Item]) -> list[Item]:
    table = cvc_sequences(data)
    grouped = []
    for item in items:
        path = Path(item.path)
        sequence = table.get(path.name)
        if sequence is None and path.stem.isdigit() and 1 <= int(path.stem) <= NUM_FRAMES:
            sequence = str(bisect_right(FIRST_FRAMES, int(path.stem)))
        if sequence is None:
            raise TaskError(
                f"task cvc_clinicdb: {path} has neither a frame number from 1 to {NUM_FRAMES} nor a row in "
                "splits/cvc_clinicdb_sequences.csv (file,sequence); without it sequences would leak"
            )
        grouped.append(replace(item, group=sequence))
    return grouped


def _endofm(_: Path, items: list[Item], __: int) -> Reading:
    """Frames of a sequence that the list names twice are in both splits, as published."""
    train = [replace(item, split="train") for item in items if int(item.group) in ENDOFM_TRAIN]
    test = [replace(item, split="test") for item in items if int(item.group) in ENDOFM_TEST]
    return train + test, (
        "test sequences 3, 4, 9, 10, 13, 17 and 21, 121 of 171 frames, are trained on too; of the 29 sequences 22 are used",
    )


def _ssl4gie(_: Path, items: list[Item], __: int) -> Reading:
    """Its code sorts 1.tif, 10.tif, 100.tif."""
    numbers = [str(int(Path(item.path).stem)) + Path(item.path).suffix for item in items]
    return draw_image_level("cvc_clinicdb", items, numbers, published=NUM_FRAMES), ()


CVC_CLINICDB = Task(
    name="cvc_clinicdb",
    data="CVC-ClinicDB: masks of polyps",
    read=_read,
    kind="segmentation",
    splits=(
        SplitProtocol(
            name="endofm",
            source="the 20 and 9 sequences of Endo-FM's code, there called CVC-12k",
            divide=_endofm,
            leak="7 of the 9 test sequences of Endo-FM's list, 121 of 171 frames, are in its training list",
        ),
        SplitProtocol(
            name="ssl4gie",
            source="SSL4GIE's draw of frames, seed 42, 80/10/10",
            divide=_ssl4gie,
            leak="SSL4GIE draws frames, so that nearly every sequence of the test split is trained on",
        ),
    ),
    expected=Expected(counts={"images": NUM_FRAMES}),
)
