"""Kvasir-SEG's polyp masks.

Nobody names its patients, so every division is by image. The download has ids of 25 letters as file names; the copy of EffiSegNet's
repository has `train_0000.jpg` and so on, and lists of one cannot be joined to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from evaluation.tasks.expected import Expected
from evaluation.tasks.image_level import draw_image_level
from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.places import existing
from evaluation.tasks.readers import image_files, read_mask_folders, read_rows
from evaluation.tasks.split_protocol import SplitProtocol
from evaluation.tasks.splits import normalized_split
from evaluation.tasks.task import NO_PATIENTS, Reading, Task

__all__ = ["KVASIR_SEG", "NUM_IMAGES"]

NUM_IMAGES = 1000


def _folder(data: Path) -> Path:
    return existing("kvasir_seg", [data / "kvasir_seg" / "images", data / "Kvasir-SEG" / "images", data / "images"]).parent


def _read(data: Path) -> Reading:
    return [replace(item, split="") for item in read_mask_folders(_folder(data), None)], (NO_PATIENTS,)


def _tables(data: Path) -> list[Path]:
    return [data / "splits" / "kvasir_seg_effisegnet_split.csv", _folder(data) / "split.csv"]


def _by_table(data: Path, items: list[Item], _: int) -> Reading:
    table = next(table for table in _tables(data) if table.is_file())
    rows, roles = read_rows(table)
    if "path" not in roles or "split" not in roles:
        raise TaskError(f"{table} has columns {', '.join(rows[0])}; expected one called file and one called split")
    listed = {Path(row[roles["path"]]).name: normalized_split(row[roles["split"]]) or "" for row in rows}
    notes = ("at least one polyp is trained on and tested: train_0222 and test_0016, two seconds apart",)
    return _joined(items, listed, table, lambda path: path.name), notes if {"train_0222.jpg", "test_0016.jpg"} <= set(listed) else ()


def _medico(data: Path, items: list[Item], _: int) -> Reading:
    train, val = _medico_lists(data)
    listed = {name: split for path, split in ((train, "train"), (val, "val")) for name in path.read_text().split()}
    return _joined(items, listed, train.parent, lambda path: path.stem), ()


def _joined(items: list[Item], listed: Mapping[str, str], table: Path, key: Callable[[Path], str]) -> list[Item]:
    found = [(item, listed.get(key(Path(item.path)))) for item in items]
    divided = [replace(item, split=split) for item, split in found if split is not None]
    if len(divided) < len(listed):
        raise TaskError(
            f"task kvasir_seg: {len(listed) - len(divided):,} of {len(listed):,} images of {table} are not there; "
            "lists of the download (25-letter ids) and of EffiSegNet's copy (train_0000) do not fit each other"
        )
    return divided


def _medico_lists(data: Path) -> tuple[Path, Path]:
    for val in sorted(data.rglob("val.txt")):
        train = val.with_name("train.txt")
        if train.is_file() and len(train.read_text().split()) == 880 and len(val.read_text().split()) == 120:
            return train, val
    raise FileNotFoundError


def _has_medico_lists(data: Path) -> bool:
    try:
        _medico_lists(data)
    except FileNotFoundError:
        return False
    return _has_original_names(data)


def _has_original_names(data: Path) -> bool:
    images = image_files(_folder(data) / "images")
    return bool(images) and all(len(path.stem) == 25 for path in images)


def _ssl4gie(_: Path, items: list[Item], __: int) -> Reading:
    return draw_image_level("kvasir_seg", items, [item.path for item in items], published=NUM_IMAGES), ()


KVASIR_SEG = Task(
    name="kvasir_seg",
    data="Kvasir-SEG: masks of polyps",
    read=_read,
    kind="segmentation",
    splits=(
        SplitProtocol(
            name="effisegnet",
            source="EffiSegNet's 800/100/100 images",
            divide=_by_table,
            is_there=lambda data: any(table.is_file() for table in _tables(data)),
            needs="splits/kvasir_seg_effisegnet_split.csv, or split.csv beside images and masks (github.com/ivezakis/effisegnet)",
        ),
        SplitProtocol(
            name="medico",
            source="the 880/120 images of Medico 2020",
            divide=_medico,
            is_there=_has_medico_lists,
            needs="train.txt and val.txt with the ids of the download (kvasir-seg-train-val in "
            "github.com/DebeshJha/2020-MediaEval-Medico-polyp-segmentation)",
        ),
        SplitProtocol(
            name="ssl4gie",
            source="SSL4GIE's draw of images, seed 42, 80/10/10",
            divide=_ssl4gie,
            may_be_clean=False,
            is_there=_has_original_names,
            needs="the download with its own file names, 25 letters each",
        ),
    ),
    expected=Expected(counts={"images": NUM_IMAGES}),
)
