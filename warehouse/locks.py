"""Whether another process works on a lake: the locks that stages hold on files of it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["held_lock"]

_OWN = {"catalog.lock", "ingest.lock", "maintenance.lock"}
"""held for a moment by anybody, or by the one who asks"""


def held_lock(root: Path) -> str | None:
    """The first file below a lake, as a path below it, that another process has locked; None if there is none.

    Stages lock the files that are called lock, or that end in .lock, and the marks of their scratch folders below staging.
    """
    marks = {*root.rglob("*lock"), *(path for path in (root / "staging").rglob("*") if path.is_file())}
    for path in sorted(marks):
        if path.name in _OWN or path.is_symlink() or not path.is_file():
            continue
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return str(path.relative_to(root))
        finally:
            os.close(descriptor)
    return None
