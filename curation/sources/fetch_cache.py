"""Folders for files that a worker needs only while it works on one video, with a bound on what all workers hold together.

A folder belongs to the process that holds the lock on its claim file. The system frees that lock when the process ends, however it ends,
and whoever comes next removes what it left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

__all__ = ["remove_dead_scratch", "scratch_folder"]

_CLAIM = "claim"
_POLL_S = 0.2


@contextlib.contextmanager
def scratch_folder(parent: Path, *, num_bytes: int = 0, limit_bytes: int = 0) -> Iterator[Path]:
    """A new folder below `parent`, removed afterwards; waits until its `num_bytes` and those of the living others are within the limit.

    Raises:
        ValueError: `num_bytes` alone is beyond the limit.
    """
    if num_bytes > limit_bytes:
        raise ValueError(f"{num_bytes} bytes do not fit into {limit_bytes}; raise the limit")
    parent.mkdir(parents=True, exist_ok=True)
    while (claimed := _claim(parent, num_bytes, limit_bytes)) is None:
        time.sleep(_POLL_S)
    folder, claim = claimed
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(claim)


def remove_dead_scratch(parent: Path) -> None:
    """Remove what processes that ended without doing so have left."""
    if parent.is_dir():
        with FileLock(parent / "lock"):
            _living_bytes(parent)


def _claim(parent: Path, num_bytes: int, limit_bytes: int) -> tuple[Path, int] | None:
    with FileLock(parent / "lock"):
        living = _living_bytes(parent)
        if num_bytes and living + num_bytes > limit_bytes:
            return None
        folder = Path(tempfile.mkdtemp(dir=parent))
        claim = os.open(folder / _CLAIM, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(claim, fcntl.LOCK_EX)
        os.ftruncate(claim, num_bytes)  # the claim's length is its size; it takes no space
        return folder, claim


def _living_bytes(parent: Path) -> int:
    """What the folders of living processes claim; the others are removed. Only while the lock on `parent` is held."""
    total = 0
    for folder in [entry for entry in parent.iterdir() if entry.is_dir()]:
        try:
            claim = os.open(folder / _CLAIM, os.O_RDWR)
        except FileNotFoundError:  # killed before it claimed anything, or removing it just now
            shutil.rmtree(folder, ignore_errors=True)
            continue
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            total += os.fstat(claim).st_size
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(claim)
    return total
