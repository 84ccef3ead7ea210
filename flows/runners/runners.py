"""Where a stage function runs: in this process, in worker processes, or on Ray. What it does is not this module's business.

All three give the same results. `map` gives them in order, `map_unordered` as they end. An item whose function raises, crashes its process
or takes too long becomes a `Failure` in its place; the others go on. An item whose worker is lost through no fault of the item is tried
again a few times: its node died, or something outside killed the process, as the kernel does where memory is short.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from flows.runners.attempt import Failure, Item, Result, attempt
from flows.runners.process_runner import ProcessRunner
from flows.runners.ray_runner import RayRunner
from flows.runners.resources import ONE_CPU, Resources, check_fits, this_machine
from flows.runners.runner_name import RunnerName
from warehouse.store import MACHINE_ERRORS

__all__ = ["ProcessRunner", "RayRunner", "Runner", "RunnerName", "SerialRunner", "make_runner", "raise_if_machine_failed", "successes"]


class Runner(Protocol):
    """Maps a module-level function over items."""

    @property
    def name(self) -> RunnerName:
        """As the command line calls it."""

    def map(
        self,
        function: Callable[..., Result],
        items: Sequence[Item],
        *,
        resources: Resources = ONE_CPU,
        timeout_s: float | None = None,
        max_memory_mb: int | None = None,
        **shared: Any,
    ) -> Iterator[Result | Failure[Item]]:
        """Yield `function(item, **shared)` for each item in order, or its Failure.

        Use it for items that take about as long as each other: one that takes long holds up those some places behind it.

        Args:
            function: importable by workers.
            items: what it is called with.
            resources: what each item asks for; no more items run at once than the machines have that for.
            timeout_s: an item that takes longer from its start is given up.
            max_memory_mb: an item whose worker alone comes to hold more MiB is given up, if a second try does the same.
            **shared: the same for all items.

        Raises:
            ValueError: no machine has the resources.
        """

    def map_unordered(
        self,
        function: Callable[..., Result],
        items: Sequence[Item],
        *,
        resources: Resources = ONE_CPU,
        timeout_s: float | None = None,
        max_memory_mb: int | None = None,
        **shared: Any,
    ) -> Iterator[tuple[int, Result | Failure[Item]]]:
        """Yield an item's place among the items and the same as `map`, as they end: no item waits for one that takes long."""

    def machines(self) -> list[Resources]:
        """What each machine has that items may run on."""

    def reuse_workers(self) -> AbstractContextManager[None]:
        """Maps inside share their workers: what those have imported need not be imported again."""


@dataclass(frozen=True, slots=True)
class SerialRunner:
    """In this process, one after the other. It cannot enforce a limit or outlive a crash; use it to debug and to compare."""

    @property
    def name(self) -> Literal["serial"]:
        """As the command line calls it."""
        return "serial"

    def map(
        self,
        function: Callable[..., Result],
        items: Sequence[Item],
        *,
        resources: Resources = ONE_CPU,
        timeout_s: float | None = None,
        max_memory_mb: int | None = None,
        **shared: Any,
    ) -> Iterator[Result | Failure[Item]]:
        """Yield `function(item, **shared)` for each item in order, or its Failure; the limits have no effect."""
        if resources != ONE_CPU:
            check_fits(resources, self.machines(), where="this machine")
        for item in items:
            yield attempt(item, function, shared)

    def map_unordered(
        self,
        function: Callable[..., Result],
        items: Sequence[Item],
        *,
        resources: Resources = ONE_CPU,
        timeout_s: float | None = None,
        max_memory_mb: int | None = None,
        **shared: Any,
    ) -> Iterator[tuple[int, Result | Failure[Item]]]:
        """Yield an item's place and the same."""
        return enumerate(self.map(function, items, resources=resources, timeout_s=timeout_s, max_memory_mb=max_memory_mb, **shared))

    def machines(self) -> list[Resources]:
        """This one."""
        return [this_machine()]

    def reuse_workers(self) -> AbstractContextManager[None]:
        """Nothing to do: there is one process."""
        return nullcontext()


def make_runner(name: RunnerName, num_workers: int | None = None) -> Runner:
    """The runner of that name with as many workers as there are cores to use, unless told otherwise."""
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"workers is {num_workers}; give 1 or more")
    workers = num_workers or len(os.sched_getaffinity(0))
    match name:
        case "serial":
            return SerialRunner()
        case "processes":
            return ProcessRunner(workers)
        case "ray":
            return RayRunner(workers)


def successes(results: Iterator[Result | Failure[Any]], *, stage: str) -> Iterator[Result]:
    """The results alone, for a stage in which every item must succeed.

    Raises:
        OSError: at the first failure, where the operating system refused something.
        RuntimeError: at any other first failure, with its item and reason.
    """
    for result in results:
        if isinstance(result, Failure):
            raise_if_machine_failed(result)
            raise RuntimeError(
                f"{stage} failed on {result.item!r} ({result.reason}): {result.detail}; mend the cause and run the same command again"
            )
        yield result


def raise_if_machine_failed(failure: Failure[Any]) -> None:
    """Stop the run where the machine and not the item is at fault: disk full or over quota, read-only, too many open files.

    Raises:
        OSError: the worker's own.
    """
    if failure.errno in MACHINE_ERRORS:
        raise OSError(failure.errno, failure.detail)
