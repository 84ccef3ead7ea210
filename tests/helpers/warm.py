"""Commands in forks of one process that has imported the libraries they need: PyTorch alone takes a new process seconds of CPU.

Nothing of ours is imported before the fork, so that a command sees the packages of its own PYTHONPATH and nothing of an earlier one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["warm_commands"]

_ROOT = Path(__file__).parents[2]
_TIMEOUT_S = 400
_START = "import sys; from tests.helpers.warm import serve; sys.exit(serve())"


def warm_commands(environment: Mapping[str, str], *commands: Sequence[str]) -> list[tuple[int, str, str]]:
    """Commands one after another in one new process; of each its exit code, and what it said to stdout and stderr."""
    zygote = _zygote()
    assert zygote.stdin is not None
    assert zygote.stdout is not None
    try:
        zygote.stdin.write(json.dumps([dict(environment), os.getcwd(), [list(words) for words in commands]]) + "\n")
        zygote.stdin.flush()
        if not select.select([zygote.stdout], [], [], _TIMEOUT_S)[0]:
            raise TimeoutError(f"{commands} did not end in {_TIMEOUT_S} s")
        answer: list[tuple[int, str, str]] | str = json.loads(zygote.stdout.readline())
    except BaseException:  # the next test gets another process, and never this one's answer
        _end(zygote)
        _zygote.cache_clear()
        raise
    assert not isinstance(answer, str), answer
    return [(code, out, said) for code, out, said in answer]


@functools.cache
def _zygote() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT, start_new_session=True
    )
    atexit.register(_end, process)
    return process


def _end(zygote: subprocess.Popen[str]) -> None:
    """Kill it with the command that may hang in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(zygote.pid, signal.SIGKILL)
    zygote.wait()


def serve() -> int:
    """Fork for each line that comes in, until none comes; the child answers. DuckDB would start threads, which no fork has."""
    import av  # noqa: F401
    import cv2  # noqa: F401
    import timm  # noqa: F401
    import tyro  # noqa: F401

    asked, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what native code and other processes print is no answer
    gc.freeze()  # a collection in a child would copy every page
    while line := asked.readline():
        with tempfile.TemporaryFile("w+") as place:
            child = os.fork()
            if child == 0:
                place.write(json.dumps(_answer(*json.loads(line))))
                place.flush()
                atexit._run_exitfuncs()
                os._exit(0)  # to take a process with PyTorch in it apart costs another second
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            place.seek(0)
            answers.write(f"{place.read() if status == 0 else json.dumps(f'the process ended with {status}')}\n")
            answers.flush()
    return 0


def _answer(environment: dict[str, str], folder: str, commands: list[list[str]]) -> Any:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    answers = []
    try:
        from flows.cli.cli import main

        for words in commands:
            out, said = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
                try:
                    code = main(words)
                except SystemExit as ended:
                    code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            answers.append((code, out.getvalue(), said.getvalue()))
    except BaseException:
        return traceback.format_exc()
    return answers
