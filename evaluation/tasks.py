"""Find and read an evaluation set: by its layout, or by the name of a set whose layout is known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from evaluation.config import TaskKind
from evaluation.items import Item, Task, TaskError
from evaluation.readers import classes_of, image_files, kind_of, read_class_folders, read_label_csv, read_mask_folders, read_rows
from evaluation.splits import complete_splits

__all__ = ["KNOWN_TASKS", "check_task_name", "read_task", "resolve_task"]

_NO_PATIENTS = "the publication names no patients: frames of one examination may stand in several splits"


def read_task(
    data: Path,
    *,
    name: str | None = None,
    labels: Path | None = None,
    kind: Literal["auto"] | TaskKind | None = None,
    val_share: float = 0.2,
    seed: int = 0,
) -> Task:
    """Read a folder of class folders, a folder with labels.csv, a CSV, or a folder of images/ and masks/ (with split.csv or without).

    Args:
        data: the folder, or the CSV whose image paths are relative to its own folder.
        name: of the task; the folder's name where not given.
        labels: a CSV elsewhere, whose image paths are relative to `data`.
        kind: what the labels are; found from them where not given.
        val_share: share of the groups for a split that the data does not name.
        seed: of such a split.

    Raises:
        TaskError: nothing usable is there, or a row is wrong.
    """
    data = Path(data).absolute()
    if not data.exists():
        raise TaskError(f"evaluation data {data} does not exist; give a folder or a CSV file")
    if data.is_file():
        labels, data = data, data.parent
    if labels is not None:
        items = read_label_csv(Path(labels), data)
    elif (data / "labels.csv").is_file():
        items = read_label_csv(data / "labels.csv", data)
    elif (data / "images").is_dir() and (data / "masks").is_dir():
        table = data / "split.csv"
        items = read_mask_folders(data, table if table.is_file() else None)
    else:
        items = read_class_folders(data)
    return _task(name or data.name or "task", items, kind=kind, val_share=val_share, seed=seed)


def check_task_name(name: str) -> None:
    """Refuse a name that is neither auto nor a known task.

    Raises:
        TaskError: the name is not known.
    """
    if name != "auto" and name not in KNOWN_TASKS:
        raise TaskError(f"unknown task {name!r}; use auto for your own data, or one of {', '.join(sorted(KNOWN_TASKS))}")


def resolve_task(name: str, data: Path, *, kind: Literal["auto"] | TaskKind | None = None, val_share: float = 0.2, seed: int = 0) -> Task:
    """The evaluation set called `name` under `data`; auto reads `data` by its layout.

    Raises:
        TaskError: the name is not known, or its files are not under `data`.
    """
    data = Path(data).absolute()
    if name == "auto":
        return read_task(data, kind=kind, val_share=val_share, seed=seed)
    check_task_name(name)
    if not data.is_dir():
        raise TaskError(f"task {name}: data folder {data} does not exist; give the folder that holds it")
    reader, default_kind = KNOWN_TASKS[name]
    items, notes = reader(data)
    chosen = default_kind if kind in (None, "auto") else kind
    return _task(name, items, kind=chosen, val_share=val_share, seed=seed, notes=notes)


def _task(name: str, items: list[Item], *, kind: str | None, val_share: float, seed: int, notes: tuple[str, ...] = ()) -> Task:
    found = kind_of(items)
    wanted = found if kind in (None, "auto") else kind
    if (wanted == "segmentation") != (found == "segmentation"):
        raise TaskError(f"task {name} was asked for as {wanted}, but its labels are {'masks' if found == 'segmentation' else 'classes'}")
    classes = ("background", "foreground") if found == "segmentation" else classes_of(items)
    if len(classes) < 2:
        raise TaskError(f"task {name} has one class ({classes[0]!r}); a score needs at least two")
    complete, made = complete_splits(items, share=val_share, seed=seed)
    return Task(name=name, kind=wanted, items=complete, classes=classes, notes=(*notes, *made))  # type: ignore[arg-type]


def _phantom_labels(name: str) -> Callable[[Path], tuple[list[Item], tuple[str, ...]]]:
    """A set that the phantom writes: `<name>/labels.csv`, or that folder itself."""

    def read(data: Path) -> tuple[list[Item], tuple[str, ...]]:
        folder = _existing(name, [data / name / "labels.csv", data / "labels.csv"]).parent
        return read_label_csv(folder / "labels.csv", folder), ()

    return read


def _polyps(data: Path) -> tuple[list[Item], tuple[str, ...]]:
    folder = _existing("polyps", [data / "polyps" / "images", data / "images"]).parent
    table = folder / "split.csv"
    return read_mask_folders(folder, table if table.is_file() else None), ()


def _kvasir_size4(data: Path) -> tuple[list[Item], tuple[str, ...]]:
    table = _existing("kvasir_size4", [data / "splits" / "kvasir_size4.csv", data / "kvasir_size4.csv"])
    return read_label_csv(table, data), ("classes are quartiles of mask area, not clinical grades",)


def _patches(data: Path) -> tuple[list[Item], tuple[str, ...]]:
    table = _existing("patch_polyp_vs_mucosa", [data / "splits" / "patch_polyp_vs_mucosa.csv", data / "patch_polyp_vs_mucosa.csv"])
    groups = {f"cvc_clinicdb/images/{name}": f"cvc sequence {sequence}" for name, sequence in _cvc_sequences(data).items()}
    return read_label_csv(table, data, groups=groups), ()


def _kvasir_seg(data: Path) -> tuple[list[Item], tuple[str, ...]]:
    folder = _existing("kvasir_seg", [data / "kvasir_seg" / "images", data / "Kvasir-SEG" / "images", data / "images"]).parent
    tables = [data / "splits" / "kvasir_seg_effisegnet_split.csv", folder / "split.csv"]
    table = next((t for t in tables if t.is_file()), None)
    return read_mask_folders(folder, table), (_NO_PATIENTS,)


def _cvc_clinicdb(data: Path) -> tuple[list[Item], tuple[str, ...]]:
    folder = _existing("cvc_clinicdb", [data / "cvc_clinicdb" / "images", data / "images"]).parent
    sequences = _cvc_sequences(data)
    if not sequences:
        raise TaskError(f"task cvc_clinicdb: splits/cvc_clinicdb_sequences.csv is not under {data}; without it sequences would leak")
    return read_mask_folders(folder, None, groups=sequences), ()


def _cvc_sequences(data: Path) -> dict[str, str]:
    table = data / "splits" / "cvc_clinicdb_sequences.csv"
    if not table.is_file():
        return {}
    rows, roles = read_rows(table)
    return {row[roles["path"]]: row[roles["group"]] for row in rows}


def _hyperkvasir_landmarks(data: Path) -> tuple[list[Item], tuple[str, ...]]:
    """HyperKvasir's six anatomical landmarks; the official five-fold list (fold 3 val, fold 4 test) where it is there."""
    folders = sorted(path for path in data.rglob("anatomical-landmarks") if path.is_dir())
    if not folders:
        raise TaskError(f"task hyperkvasir_landmarks: no folder anatomical-landmarks under {data}; give the folder of labeled-images")
    items = [item for folder in folders for item in read_class_folders(folder)]
    tables = sorted(data.rglob("5_fold_split.csv"))
    if not tables:
        return items, (_NO_PATIENTS,)
    rows, _ = read_rows(tables[0])
    splits = {"0": "train", "1": "train", "2": "train", "3": "val", "4": "test"}
    listed = {(row["file-name"], row["class-name"]): splits[row["split-index"]] for row in rows}
    kept = [(item, listed.get((Path(item.path).name, str(item.label)))) for item in items]
    unlisted = sum(split is None for _, split in kept)
    notes: tuple[str, ...] = (_NO_PATIENTS, "official five folds: 0-2 train, 3 val, 4 test")
    if unlisted:
        notes = (*notes, f"{unlisted} images are not in the official list and are left out")
    return [replace(item, split=split) for item, split in kept if split is not None], notes


def _limuc(data: Path) -> tuple[list[Item], tuple[str, ...]]:
    """LIMUC's Mayo scores by patient: the published test set, and fold 0's validation patients where the fold lists are there."""
    roots = sorted(path for path in data.rglob("train_and_validation_sets") if path.is_dir())
    if not roots or not (roots[0].parent / "test_set").is_dir():
        raise TaskError(f"task limuc: no folders train_and_validation_sets and test_set under {data}; give the folder of the publication")
    lists = sorted(data.rglob("fold_0_val.json"))
    val = {name for names in json.loads(lists[0].read_text()).values() for name in names} if lists else set()
    items = []
    for folder, split in ((roots[0], "train"), (roots[0].parent / "test_set", "test")):
        for path in image_files(folder):
            patient = re.match(r"UC_patient_(\d+)_", path.name)
            group = f"patient {patient[1]}" if patient else str(path)
            chosen = "val" if split == "train" and path.name in val else split
            items.append(Item(path=str(path), label=path.relative_to(folder).parts[0], split=chosen, group=group))
    return items, ("validation patients: official fold 0",) if val else ()


def _existing(name: str, candidates: list[Path]) -> Path:
    """The first candidate that exists."""
    for path in candidates:
        if path.exists():
            return path
    raise TaskError(f"task {name}: none of {', '.join(map(str, candidates))} exists; give --data the folder that holds one of them")


_Reader = Callable[[Path], tuple[list[Item], tuple[str, ...]]]

KNOWN_TASKS: dict[str, tuple[_Reader, TaskKind]] = {
    "landmarks": (_phantom_labels("landmarks"), "classification"),
    "grades": (_phantom_labels("grades"), "ordinal"),
    "polyps": (_polyps, "segmentation"),
    "kvasir_size4": (_kvasir_size4, "ordinal"),
    "patch_polyp_vs_mucosa": (_patches, "classification"),
    "kvasir_seg": (_kvasir_seg, "segmentation"),
    "cvc_clinicdb": (_cvc_clinicdb, "segmentation"),
    "hyperkvasir_landmarks": (_hyperkvasir_landmarks, "classification"),
    "limuc": (_limuc, "ordinal"),
}
