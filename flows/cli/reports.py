"""Summaries and gauges of commands: the options `--summary` and `--metrics-file`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["check_reports", "report_killed", "run_reported"]


def check_reports(command: Any) -> None:
    """Refuse files that could not be written at the end.

    Raises:
        OSError: a file is a folder, or its folder can neither be made nor written to.
    """
    from flows.stages import check_new_folder

    for what, path in zip(("summary", "metrics_file"), _files(command), strict=True):
        if path is not None:
            if path.is_dir():
                raise IsADirectoryError(f"{what} is {str(path)!r}, and that is a folder; give the name of a file")
            check_new_folder(path.parent, f"the folder of {what}")


def run_reported(name: str, command: Any, run: Callable[[Any], int | None]) -> int:
    """Run a command and write what it was asked to report; returns its exit code."""
    summary, metrics_file = _files(command)
    if summary is None and metrics_file is None:
        return run(command) or 0
    from flows.outcome import reported

    with reported(name, _lake(command), summary=summary, metrics_file=metrics_file) as outcome:
        outcome.exit_code = run(command) or 0
    return outcome.exit_code


def report_killed(name: str, command: Any, code: int) -> int:
    """Report for a supervised command that a signal has ended, and that could not do so itself; returns the exit code."""
    summary, metrics_file = _files(command)
    if code > 128 and (summary or metrics_file):
        from flows.outcome import reported

        with reported(name, _lake(command), summary=summary, metrics_file=metrics_file) as outcome:
            outcome.exit_code = code
            outcome.error = f"ended by {signal.Signals(code - 128).name}"
    return code


def _files(command: Any) -> tuple[Path | None, Path | None]:
    """Where the summary and the gauges are to go; questions have neither."""
    execution = getattr(command, "execution", command)
    return getattr(execution, "summary", None), getattr(execution, "metrics_file", None)


def _lake(command: Any) -> Path | None:
    """The lake that a command is about; the demonstration makes one in its folder."""
    lake: Path | None = getattr(command, "lake", None)
    return lake if lake is not None or not hasattr(command, "phantom") else command.out / "lake"
