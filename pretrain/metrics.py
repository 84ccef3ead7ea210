"""The run's metrics: one JSON object a line, and the same for TensorBoard."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from warehouse.store import atomic_file

__all__ = ["MetricsLog", "Stopwatch", "newest_row", "read_metrics"]

_TAIL_BYTES = 1 << 16
_VALIDATION = "validation/"

_Row = tuple[int, str, float | None]
"""Step, name and value; None for one that was not finite."""


def read_metrics(path: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) rows in order, of a repeated row the last.

    A line cut short by a kill is left out, and so is a value that was not finite.
    """
    return [(step, name, value) for step, name, value in _rows(path) if value is not None]


def _rows(path: Path) -> list[_Row]:
    return _parsed(path.read_bytes()) if path.exists() else []


def newest_row(path: Path) -> tuple[int, dict[str, float]] | None:
    """The newest logged step and its metrics, with the last validation's before it.

    They are read from the end of the file alone: a long run's log is too long to read every second.
    """
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        rows = _parsed(file.read())
    newest = max((step for step, name, value in rows if name == "loss/total" and value is not None), default=None)
    if newest is None:
        return None
    validated = {name: value for step, name, value in sorted(rows) if name.startswith(_VALIDATION) and step <= newest and value is not None}
    return newest, validated | {name: value for step, name, value in rows if step == newest and value is not None}


def _parsed(lines: bytes) -> list[_Row]:
    rows: dict[tuple[int, str], float | None] = {}
    for line in lines.splitlines():
        try:
            row = json.loads(line)
            rows[int(row["step"]), str(row["name"])] = None if row["value"] is None else float(row["value"])
        except (ValueError, TypeError, KeyError):
            continue
    return [(step, name, value) for (step, name), value in rows.items()]


class MetricsLog:
    """Appends rows to metrics.jsonl and TensorBoard's event file, continuing after a given step."""

    def __init__(self, run_dir: Path, *, after_step: int) -> None:
        """Forget what an interrupted run logged beyond the checkpoint that this one continues from."""
        self.path = run_dir / "metrics.jsonl"
        kept = [row for row in _rows(self.path) if row[0] <= after_step]
        with atomic_file(self.path, "w") as file:
            file.writelines(map(_line, kept))
        self._validations: dict[str, dict[int, float]] = {}
        for step, name, value in kept:
            self._remember(step, name, value)
        self._file = self.path.open("a")
        self._board = SummaryWriter(str(run_dir), purge_step=after_step + 1)
        self.watch: Callable[[int, dict[str, float]], dict[str, float]] | None = None
        """sees each row, and gives metrics of its own that are written too"""

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append one row a value; on disk for the operating system at once, so a killed process loses nothing.

        A value that is not finite, such as the loss of a skipped step, is null: JSON has no such number, and a row that is missing says
        nothing. TensorBoard gets finite values alone.
        """
        rows = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.writelines(_line((step, name, value)) for name, value in rows.items())
        self._file.flush()
        for name, value in rows.items():
            self._remember(step, name, value)
            if value is not None:
                self._board.add_scalar(name, value, step)
        if self.watch and (seen := self.watch(step, values)):
            self.write(step, seen)

    def _remember(self, step: int, name: str, value: float | None) -> None:
        if value is not None and name.startswith(_VALIDATION):
            self._validations.setdefault(name, {})[step] = value

    def validations(self, name: str) -> list[tuple[int, float]]:
        """(step, value) rows of `validation/name`, in the order of steps; of a repeated step the last."""
        return sorted(self._validations.get(_VALIDATION + name, {}).items())

    def newest_validation(self) -> dict[str, float]:
        """The newest value of each validation metric, by name."""
        return {name: values[max(values)] for name, values in self._validations.items()}

    def sync(self) -> None:
        """Make everything written durable, before a checkpoint that relies on it."""
        os.fsync(self._file.fileno())
        self._board.flush()

    def close(self) -> None:
        """Flush and close both files."""
        self._file.close()
        self._board.close()


def _line(row: _Row) -> str:
    step, name, value = row
    return json.dumps({"step": step, "name": name, "value": value}) + "\n"


class Stopwatch:
    """Images per second and the share of time spent waiting for data, since the last reading."""

    def __init__(self) -> None:
        self._start_s, self._waited_s, self._num_images = time.perf_counter(), 0.0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for data."""
        start_s = time.perf_counter()
        yield
        self._waited_s += time.perf_counter() - start_s

    def count(self, num_images: int) -> None:
        """Images of a step that is done."""
        self._num_images += num_images

    def read(self) -> dict[str, float]:
        """The figures, and start afresh."""
        elapsed_s = time.perf_counter() - self._start_s
        figures = {"speed/images_per_s": self._num_images / elapsed_s, "speed/data_wait_share": self._waited_s / elapsed_s}
        self._start_s, self._waited_s, self._num_images = time.perf_counter(), 0.0, 0
        return figures
