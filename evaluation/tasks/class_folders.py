"""Folders of classes anywhere below a download, found by their names, which publications spell in several ways."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from evaluation.tasks.readers import IMAGE_SUFFIXES

__all__ = ["find_class_folders", "image_names", "plain"]


@functools.cache
def plain(name: str) -> str:
    """A name without its case, spaces and punctuation."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def find_class_folders(data: Path, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> list[tuple[Path, str]]:
    """The outermost folders that are called as a class, and the class.

    Args:
        data: folder to search.
        names: of the classes.
        aliases: other spellings, and the class that they mean.
    """
    meant = {plain(name): name for name in names} | {plain(name): known for name, known in (aliases or {}).items()}
    found = []
    for here, folders, _ in os.walk(data):
        for folder in sorted(folders):
            if plain(folder) in meant:
                found.append((Path(here) / folder, meant[plain(folder)]))
        folders[:] = sorted(folder for folder in folders if plain(folder) not in meant and not folder.startswith("."))
    return found


def image_names(folder: Path) -> list[str]:
    """Paths of the images under a folder, sorted as text, hidden ones left out; four times as fast for 50,000 as by `Path`."""
    return sorted(
        os.path.join(here, name)
        for here, _, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")
    )
