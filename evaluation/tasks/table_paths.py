"""Paths that a table names: inside the data folder, and found although they were written on another system."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from evaluation.tasks.items import TaskError

__all__ = ["TablePaths"]


class TablePaths:
    """Finds the files that the rows of one table name, and counts the spellings that it corrected."""

    def __init__(self, table: Path, root: Path) -> None:
        self._table, self._root, self._corrected = table, root, 0
        self._inside = os.path.join(os.path.normpath(root), "")

    def find(self, name: str, line: int) -> str:
        """The absolute path of a named file, whether it exists or not.

        A name of which no file exists is tried without outer spaces, with slashes for backslashes, and in both Unicode forms.

        Raises:
            TaskError: the path leaves the data folder.
        """
        first = ""
        for number, spelling in enumerate(_spellings(name)):
            path = os.path.normpath(os.path.join(self._inside, spelling))
            if not path.startswith(self._inside):
                raise TaskError(f"{self._table} line {line}: {name!r} is outside {self._root}; give paths of files inside that folder")
            found = os.path.join(self._root, path.removeprefix(self._inside))
            first = first or found
            if os.path.isfile(found):
                self._corrected += number > 0
                return found
        return first

    @property
    def notes(self) -> tuple[str, ...]:
        """What was corrected."""
        if not self._corrected:
            return ()
        return (f"spelling: {self._corrected:,} paths of {self._table.name} were corrected (outer spaces, backslashes, Unicode form)",)


def _spellings(name: str) -> Iterator[str]:
    yield name
    tidy = name.strip().replace("\\", "/")
    for form in (None, "NFC", "NFD"):
        yield tidy if form is None else unicodedata.normalize(form, tidy)
