"""A check in a process of its own: a hang is killed, a crash or a full GPU memory touches no other check."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from tests.device.place import Place

_LAST_LINES = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A check that has been started."""

    process: BaseProcess
    place: Place


def start(check: Callable[[Place], None], place: Place, *, method: Literal["fork", "spawn"]) -> Running:
    """Start a check; fork shares what is imported, which is quick as long as this process has not touched CUDA."""
    context = multiprocessing.get_context("fork") if method == "fork" else multiprocessing.get_context("spawn")
    process = context.Process(target=_alone, args=(check, place))
    process.start()
    return Running(process=process, place=place)


def finish(running: Running) -> dict[str, Any]:
    """Wait for a check, kill it at its limit, and say what became of it and what it had noted."""
    process, place = running.process, running.place
    process.join(max(0.0, place.left_s))
    timed_out = process.is_alive()
    kill(running)
    values = place.found(place.name)
    error = values.pop("error", None)
    if timed_out:
        status, error = "timeout", f"killed after {place.seconds:.0f} s\n{_tail(place)}"
    elif process.exitcode != 0:
        status, error = "failed", error or f"the process ended with {process.exitcode}\n{_tail(place)}"
    else:
        status = "ok"
    result: dict[str, Any] = {
        "status": status,
        "seconds": values.pop("seconds", round(time.monotonic() - place.start_s, 1)),
        "values": values,
    }
    return result | ({"error": error} if error else {})


def kill(running: Running) -> None:
    """End a check and every process that it started."""
    pid = running.process.pid
    if pid is None:
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        if running.process.is_alive():
            running.process.kill()
    running.process.join(10)


def _log(place: Place) -> str:
    return str(place.work / f"{place.name}.log")


def _tail(place: Place) -> str:
    try:
        with open(_log(place), errors="replace") as file:
            return "".join(file.readlines()[-_LAST_LINES:])
    except OSError:
        return ""


def _alone(check: Callable[[Place], None], place: Place) -> None:
    """The child: its own session, its output in a file, its failure noted with a traceback."""
    os.setsid()
    with open(_log(place), "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    code = 0
    try:
        check(place)
    except BaseException:
        code = 1
        text = traceback.format_exc()
        print(text, file=sys.stderr)
        place.note(error="\n".join(text.splitlines()[-_LAST_LINES:]))
    place.note(seconds=round(time.monotonic() - place.start_s, 1))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # libraries that hang while Python ends cannot hold up the rest
