"""Where the files of published sets lie below the folder that a person gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.readers import image_files, read_label_csv, read_rows
from evaluation.tasks.task import Reading

__all__ = ["cvc_sequences", "existing", "mask_pairs", "phantom_labels"]


def existing(name: str, candidates: list[Path]) -> Path:
    """The first candidate that exists.

    Raises:
        TaskError: none does.
    """
    for path in candidates:
        if path.exists():
            return path
    raise TaskError(f"task {name}: none of {', '.join(map(str, candidates))} exists; give --data the folder that holds one of them")


def phantom_labels(name: str) -> Callable[[Path], Reading]:
    """The reader of a set that the phantom writes: `<name>/labels.csv`, or that folder itself."""

    def read(data: Path) -> Reading:
        folder = existing(name, [data / name / "labels.csv", data / "labels.csv"]).parent
        return read_label_csv(folder / "labels.csv", folder), ()

    return read


def cvc_sequences(data: Path) -> dict[str, str]:
    """The sequence of each image of CVC-ClinicDB, by file name; empty without the table of sequences."""
    table = data / "splits" / "cvc_clinicdb_sequences.csv"
    if not table.is_file():
        return {}
    rows, roles = read_rows(table)
    return {row[roles["path"]]: row[roles["group"]] for row in rows}


def _same(stem: str) -> str:
    return stem


def mask_pairs(task: str, images: Path, masks: Path, stem_of_mask: Callable[[str], str] = _same) -> list[Item]:
    """Items of a folder of images and one of masks, in the order of names, each image a group, without splits.

    Args:
        task: its name, for errors.
        images: folder of images.
        masks: folder of masks, one for each image.
        stem_of_mask: the mask's file stem from the image's.

    Raises:
        TaskError: an image has no mask.
    """
    found = {path.stem: path for path in image_files(masks)}
    items = []
    for path in image_files(images):
        mask = found.get(stem_of_mask(path.stem))
        if mask is None:
            raise TaskError(f"task {task}: {path} has no mask {stem_of_mask(path.stem)}.* in {masks}; complete the download")
        items.append(Item(path=str(path), mask=str(mask), split="", group=str(path)))
    return items
