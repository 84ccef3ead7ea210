"""Who may look at what commands write: nobody but its owner, unless ENDOFORGE_UMASK leaves it open to others.

A process has one mask, which its children inherit: Parquet files of DuckDB, catalogs of SQLite, locks and logs of Ray and Prefect obey it
as well as files of our own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["UMASK", "as_invoked", "file_mask", "kept_private", "make_private_folder"]

UMASK = "ENDOFORGE_UMASK"
"""environment variable: octal digits, as the shell's umask has them"""
_PRIVATE = "077"
_before: list[int] = []
"""masks that `kept_private` has replaced, the outermost first"""


def file_mask() -> int:
    """The permissions that new files and folders lack.

    Raises:
        ValueError: ENDOFORGE_UMASK is no mask, or would take a file from its owner.
    """
    text = os.environ.get(UMASK) or _PRIVATE
    if len(text) > 4 or not set(text) <= set("01234567") or int(text, 8) & ~0o077:
        raise ValueError(f"{UMASK} is {text!r}; give three octal digits that leave the owner all, such as 077 or 027")
    return int(text, 8)


@contextlib.contextmanager
def kept_private() -> Iterator[None]:
    """Give new files and folders of this process, and of those that it starts, the modes that `file_mask` leaves."""
    _before.append(os.umask(file_mask()))
    try:
        yield
    finally:
        os.umask(_before.pop())


@contextlib.contextmanager
def as_invoked() -> Iterator[None]:
    """Inside `kept_private`: as the person's own umask has it, for files that name no video and no patient."""
    inner = os.umask(_before[0]) if _before else None
    try:
        yield
    finally:
        if inner is not None:
            os.umask(inner)


def make_private_folder(folder: Path) -> None:
    """Make a folder with the mode that `file_mask` leaves, whatever the umask of this process; one that is there stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        folder.mkdir(mode=0o777 & ~file_mask(), exist_ok=True)
