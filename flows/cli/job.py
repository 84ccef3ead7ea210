"""The lake and the runner that a command names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flows.cli.execution import Alone, Asking

if TYPE_CHECKING:
    from flows.job import Job
    from warehouse.lake import Lake

__all__ = ["asked", "job_of"]


@contextlib.contextmanager
def job_of(command: Any, *, create: bool = False, read_only: bool = False) -> Iterator[Job]:
    """The lake and the runner that a command names."""
    from flows.job import Job
    from flows.runners import make_runner
    from warehouse.lake import open_lake

    execution = command.execution
    with open_lake(command.lake, create=create, read_only=read_only) as lake:
        runner = make_runner("serial", None) if isinstance(execution, Alone | Asking) else make_runner(execution.runner, execution.workers)
        yield Job(lake=lake, runner=runner)


def asked(command: Any, *, at: str | None = None) -> Lake:
    """The lake that a question is about, as it was at some time if one is named; its answer needs no runner."""
    from warehouse.lake import open_lake

    return open_lake(command.lake, read_only=True, at=at)
