"""Folders of classes anywhere below a download, found by their names, which publications spell in several ways."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["find_class_folders", "plain"]


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
