"""A command in a process of its own, so that Ctrl-C ends it at once, with everything that it has started.

A terminal sends SIGINT to every process of a command. A Prefect server dies of it, the flow then waits for that server for more than a
minute, and native code may not look at a signal for as long. So a small process stands before the command: it alone takes the signals,
and it ends what has grown below it. Whatever is finished by then is kept, for commands go on after kill -9 too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time

from flows.cli.interruption import INTERRUPTED, end_descendants

__all__ = ["begin_supervised", "is_supervised", "run_supervised"]

_SUPERVISOR = "ENDOFORGE_SUPERVISOR"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.05
_FAREWELL_S = 2.5
"""Seconds that a flow has to tell a Prefect server of yours that it has ended."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_supervised() -> bool:
    """Whether this process is the command itself, not the one before it."""
    return _SUPERVISOR in os.environ


def begin_supervised() -> None:
    """Leave SIGINT to the supervisor, here and in all processes started from here, and end when it is killed."""
    supervisor = int(os.environ.pop(_SUPERVISOR))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    import psutil  # here: commands that are not supervised have no use for it

    if not psutil.pid_exists(supervisor):  # killed before the line above
        os._exit(1)


def run_supervised() -> int:
    """Run this same command line again, in a process that finds itself supervised, and wait for it.

    Returns:
        its exit code; 128 and the signal's number where a signal ended it, as a shell has it (130 for Ctrl-C).
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # so that nothing that loses its parent escapes
    received: list[int] = []
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, lambda number, _: received.append(number))
    command = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        env={**os.environ, _SUPERVISOR: str(os.getpid())},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    while command.poll() is None and not received:
        time.sleep(_POLL_S)
    if received:
        print(INTERRUPTED, file=sys.stderr, flush=True)
        if "PREFECT_API_URL" in os.environ:
            command.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(timeout=_FAREWELL_S)
        end_descendants()
        return 128 + received[0]
    if command.returncode < 0:
        ended_by = signal.Signals(-command.returncode).name
        print(f"endoforge: {ended_by} ended the run, as when memory runs out; the same command goes on from here", file=sys.stderr)
        end_descendants()
        return 128 - command.returncode
    return command.returncode


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
