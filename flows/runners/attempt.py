"""One item in a worker process: what it raises becomes a record, and a watching thread ends the process where it must not live on.

The thread reads how much memory the process holds alone and ends the process with an exit code of its own. Its resident memory would count
what all workers share: a fork of a process that has imported PyTorch has 450 MiB before it begins. A limit set by the operating system
(RLIMIT_AS, RLIMIT_DATA) would instead fail one allocation somewhere inside a native library, which then may crash, hang or report a damaged
video, and would count address space that is reserved and never touched. Decoders give the interpreter's lock back while they work, so the
thread gets its turn.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import psutil

__all__ = ["OUT_OF_MEMORY_EXIT_CODE", "Failure", "FailureReason", "WrongMachine", "attempt", "attempt_guarded", "describe"]

Item = TypeVar("Item")
Result = TypeVar("Result")
FailureReason = Literal["error", "crash", "timeout", "memory", "lost", "misplaced"]
"""the last two are never the item's fault: its worker was lost several times, or no machine has what it needs"""

OUT_OF_MEMORY_EXIT_CODE = 117
"""Exit code of a worker that exceeded its memory limit; no signal, errno or shell uses it."""

_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(Generic[Item]):
    """What became of an item that gave no result."""

    item: Item
    reason: FailureReason
    detail: str
    errno: int | None = None
    """of an operating system error: a full disk is no fault of the item"""
    node: str | None = None
    """id of the Ray node that the item ran on"""


class WrongMachine(Exception):
    """Raised by a mapped function on a machine that lacks what its items need; another machine may have it."""


def attempt(item: Item, function: Callable[..., Result], shared: dict[str, Any]) -> Result | Failure[Item]:
    """`function(item, **shared)`, or what it raised as a Failure: an exception might not survive the way to another process."""
    try:
        return function(item, **shared)
    except MemoryError as error:
        return Failure(item=item, reason="memory", detail=describe(error))
    except WrongMachine as error:
        return Failure(item=item, reason="misplaced", detail=str(error))
    except Exception as error:  # whatever went wrong with one item is that item's record, not the end of the run
        return Failure(item=item, reason="error", detail=describe(error), errno=error.errno if isinstance(error, OSError) else None)


def attempt_guarded(
    item: Item, function: Callable[..., Result], shared: dict[str, Any], max_memory_mb: int | None
) -> Result | Failure[Item]:
    """The same in a worker process, which ends when it alone holds more than `max_memory_mb` or the process that started it is gone."""
    with _watched(max_memory_mb):
        return attempt(item, function, shared)


@contextlib.contextmanager
def _watched(max_memory_mb: int | None) -> Iterator[None]:
    done = threading.Event()
    threading.Thread(target=_watch, args=(done, max_memory_mb), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _watch(done: threading.Event, max_memory_mb: int | None) -> None:
    process = psutil.Process()
    parent = multiprocessing.parent_process()
    while not done.wait(_LOOK_EVERY_S):
        if max_memory_mb is not None and _holds_more(process, max_memory_mb << 20) and not done.is_set():
            os._exit(OUT_OF_MEMORY_EXIT_CODE)
        if parent is not None and not parent.is_alive():  # killed: nobody waits for this, and a rerun may be at work already
            os._exit(1)


def _holds_more(process: psutil.Process, limit_bytes: int) -> bool:
    """Whether more than that would become free if it ended. Its resident memory is more, is known at once, and mostly says no."""
    resident = process.memory_info().rss
    return bool(resident > limit_bytes and getattr(process.memory_full_info(), "uss", resident) > limit_bytes)  # not every system tells it


def describe(error: BaseException) -> str:
    """One line that names the error; a traceback belongs into the log, not into a table.

    Of an operating system error it says what the system said: the rest is the path, and a path may hold a name.
    """
    said = (error.strerror or "") if isinstance(error, OSError) else str(error)
    return f"{type(error).__name__}: {' '.join(said.split())}".removesuffix(": ")[:500]
