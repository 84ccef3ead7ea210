"""Work in a folder that two processes would name alike: one does it, the other waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.runners import say

__all__ = ["one_at_a_time"]


@contextmanager
def one_at_a_time(lake_root: Path, name: str) -> Iterator[None]:
    """Hold the lock of that name in the lake's staging folder; says so where another process holds it."""
    (lake_root / "staging").mkdir(parents=True, exist_ok=True)
    lock = FileLock(lake_root / "staging" / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another process works on {name}; waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
