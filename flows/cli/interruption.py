"""Ctrl-C ends a command with one sentence and exit code 130 within seconds, whatever it is doing.

The handler of SIGINT is the state. While modules are imported, arguments parsed and the interpreter shut down it ends the process at once:
a KeyboardInterrupt that nothing catches makes Python kill itself with the signal. During work the first Ctrl-C raises KeyboardInterrupt, so
that locks and folders are left in good order. The next one, or a few seconds without an end, end the process all the same: a library may
swallow the exception, native code may not let it come, and Python 3.13 runs no handler while it waits for threads at its end.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

__all__ = ["INTERRUPTED", "end_descendants", "interruptible", "leave_interrupted", "take_interrupts"]

INTERRUPTED = "endoforge: interrupted; the same command goes on from here"
"""The sentence on Ctrl-C, wherever it comes."""

CODE = 128 + signal.SIGINT
_PATIENCE_S = 3.0
_POLL_S = 0.05
_END_S = 1.5


def take_interrupts() -> None:
    """End this process at Ctrl-C from now on, if it is a command: the script of that name, or a module that `python -m` is looking for.

    A process that ignores the signal goes on doing so: one behind nohup, or under a supervisor.
    """
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    if name in ("endoforge", "-m") and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # the first one registered runs last; Python then resets handlers
        os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let the first Ctrl-C in a command's work raise KeyboardInterrupt, and watch that the process ends after it.

    What follows the work is the interpreter's end, which may wait for threads and servers: Ctrl-C ends the process at once again.
    """
    if signal.getsignal(signal.SIGINT) is not _end:
        yield
        return
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told,), daemon=True, name="interruption").start()
    try:
        signal.signal(signal.SIGINT, _raise)
        yield
    finally:
        signal.signal(signal.SIGINT, _end)


def leave_interrupted() -> int:
    """Say the sentence; returns the exit code."""
    print(INTERRUPTED, file=sys.stderr, flush=True)
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, _leave)
    return CODE


def end_descendants() -> None:
    """Kill what has grown below this process."""
    import psutil

    deadline = time.monotonic() + _END_S
    while (living := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        for process in living:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(living, timeout=_POLL_S)


def _raise(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, _end)
    if _imports(frame):
        _end(number, frame)
    raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported, which the exception may turn into another error, or abort in native code."""
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, f"{INTERRUPTED}\n".encode())
    _leave(number, frame)


def _leave(number: int, frame: FrameType | None) -> None:
    if hasattr(sys.modules.get("psutil"), "wait_procs"):  # no process is started before it is there, whole
        end_descendants()
    os._exit(CODE)


def _watch(told: int) -> None:
    """Wait for the signal itself, which is told here even while native code keeps its handler waiting."""
    while signal.SIGINT not in os.read(told, 64):
        pass
    time.sleep(_PATIENCE_S)
    (_leave if signal.getsignal(signal.SIGINT) is _leave else _end)(signal.SIGINT, None)


def _forget() -> None:
    if signal.getsignal(signal.SIGINT) in (_end, _raise, _leave):
        signal.signal(signal.SIGINT, signal.default_int_handler)
