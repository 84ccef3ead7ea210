"""Where a stage function runs: in this process, in worker processes, or on Ray. What it does is not this module's business.

All three give the same results in the same order. An item whose function raises, crashes its process or takes too long becomes a
`Failure` in its place; the others go on.
"""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import pebble

from flows.attempt import OUT_OF_MEMORY_EXIT_CODE, Failure, attempt, attempt_guarded, describe
from warehouse.store import MACHINE_ERRORS

__all__ = [
    "Failure",
    "ProcessRunner",
    "RayRunner",
    "Runner",
    "RunnerName",
    "SerialRunner",
    "make_runner",
    "raise_if_machine_failed",
    "successes",
]

RunnerName = Literal["serial", "processes", "ray"]
Item = TypeVar("Item")
Result = TypeVar("Result")


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
        timeout_s: float | None = None,
        max_memory_mb: int | None = None,
        **shared: Any,
    ) -> Iterator[Result | Failure[Item]]:
        """Yield `function(item, **shared)` for each item in order, or its Failure.

        An item is given up when it takes longer than `timeout_s` from its start, or when its worker comes to hold `max_memory_mb` MiB.
        """

    def reuse_workers(self) -> AbstractContextManager[None]:
        """Maps inside share their workers: what those have imported need not be imported again."""


@dataclass(frozen=True, slots=True)
class SerialRunner:
    """In this process, one after the other. It cannot enforce a limit or outlive a crash; use it to debug and to compare."""

    @property
    def name(self) -> RunnerName:
        """As the command line calls it."""
        return "serial"

    def map(
        self,
        function: Callable[..., Result],
        items: Sequence[Item],
        *,
        timeout_s: float | None = None,
        max_memory_mb: int | None = None,
        **shared: Any,
    ) -> Iterator[Result | Failure[Item]]:
        """Yield `function(item, **shared)` for each item in order, or its Failure; the limits have no effect."""
        for item in items:
            yield attempt(item, function, shared)

    def reuse_workers(self) -> AbstractContextManager[None]:
        """Nothing to do: there is one process."""
        return nullcontext()


class ProcessRunner:
    """In worker processes of one thread each, as many as there are cores; a worker that dies or hangs is replaced."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self._shared_pool: pebble.ProcessPool | None = None

    @property
    def name(self) -> RunnerName:
        """As the command line calls it."""
        return "processes"

    def map(
        self,
        function: Callable[..., Result],
        items: Sequence[Item],
        *,
        timeout_s: float | None = None,
        max_memory_mb: int | None = None,
        **shared: Any,
    ) -> Iterator[Result | Failure[Item]]:
        """Yield `function(item, **shared)` for each item in order, or its Failure."""
        if not items:
            return
        with self._pool(len(items)) as pool:
            remaining = iter(items)
            running: deque[tuple[Item, concurrent.futures.Future[Any]]] = deque()
            try:
                while True:
                    while len(running) < 4 * self.num_workers and (item := next(remaining, _END)) is not _END:
                        arguments = (item, function, shared, max_memory_mb)
                        running.append((item, pool.schedule(attempt_guarded, args=arguments, timeout=timeout_s)))
                    if not running:
                        return
                    item, future = running.popleft()
                    yield _outcome(item, future, timeout_s, max_memory_mb)
            finally:
                if running:  # the caller left early: do not wait for work nobody wants
                    pool.stop()  # type: ignore[no-untyped-call]  # pebble has no stubs for it

    @contextmanager
    def reuse_workers(self) -> Iterator[None]:
        """Keep the worker processes between the maps inside."""
        try:
            with _new_pool(self.num_workers) as self._shared_pool:
                yield
        finally:
            self._shared_pool = None

    def _pool(self, num_items: int) -> AbstractContextManager[pebble.ProcessPool]:
        if self._shared_pool is not None and self._shared_pool.active:
            return nullcontext(self._shared_pool)
        return _new_pool(min(self.num_workers, num_items))


@contextmanager
def _new_pool(num_workers: int) -> Iterator[pebble.ProcessPool]:
    """A pool whose workers, those that replace a dead one among them, have one thread each as long as it lives."""
    spawn = multiprocessing.get_context("spawn")
    with _single_threaded_children(), pebble.ProcessPool(max_workers=num_workers, context=spawn) as pool:
        yield pool


_END: Any = object()


def _outcome(item: Item, future: concurrent.futures.Future[Any], timeout_s: float | None, max_memory_mb: int | None) -> Any:
    try:
        return future.result()
    except concurrent.futures.TimeoutError:
        return Failure(item=item, reason="timeout", detail=f"took longer than {timeout_s:g} s")
    except pebble.ProcessExpired as error:
        if error.exitcode == OUT_OF_MEMORY_EXIT_CODE:
            return Failure(item=item, reason="memory", detail=f"needed more than {max_memory_mb} MiB of memory")
        return Failure(item=item, reason="crash", detail=f"the worker process died with exit code {error.exitcode}")
    except BrokenProcessPool as error:  # no fault of the item, and what is left would fail likewise
        raise RuntimeError(f"the worker processes are lost ({error}); run the same command again, what is finished is kept") from error
    except Exception as error:  # such as a result that cannot be pickled
        return Failure(item=item, reason="error", detail=describe(error))


class _single_threaded_children:
    """Sets the thread-count variables that worker processes inherit: one thread each, as many processes as cores, is fastest."""

    _names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self._names}
        os.environ.update(dict.fromkeys(self._names, "1"))

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True, slots=True)
class RayRunner:
    """On a Ray cluster: the one RAY_ADDRESS names, or a local one.

    Each Ray worker runs its items in a process of its own, one that it watches and replaces as `ProcessRunner` does. Ray by itself could
    not tell why a worker died, would count an item's time while it still waits for a core, and cannot stop a worker that hangs.
    """

    num_workers: int

    @property
    def name(self) -> RunnerName:
        """As the command line calls it."""
        return "ray"

    def map(
        self,
        function: Callable[..., Result],
        items: Sequence[Item],
        *,
        timeout_s: float | None = None,
        max_memory_mb: int | None = None,
        **shared: Any,
    ) -> Iterator[Result | Failure[Item]]:
        """Yield `function(item, **shared)` for each item in order, or its Failure."""
        import ray

        from pretrain.launch import start_ray

        start_ray()
        remote: Any = ray.remote(num_cpus=1, max_retries=0)(_in_own_process)
        limits = {"timeout_s": timeout_s, "max_memory_mb": max_memory_mb}
        shared_refs = {name: ray.put(value) for name, value in shared.items()}
        limit = max(4 * self.num_workers, int(2 * ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]  # nor has Ray
        remaining = iter(items)
        running: deque[tuple[Item, Any]] = deque()
        while True:
            while len(running) < limit and (item := next(remaining, _END)) is not _END:
                running.append((item, remote.remote(item, function, limits, **shared_refs)))
            if not running:
                return
            item, reference = running.popleft()
            try:
                yield ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                yield Failure(item=item, reason="error", detail=describe(error.cause))
            except ray.exceptions.RayError as error:
                yield Failure(item=item, reason="crash", detail=f"the Ray worker died: {' '.join(str(error).split())}"[:500])

    def reuse_workers(self) -> AbstractContextManager[None]:
        """Nothing to do: Ray keeps its workers."""
        return nullcontext()


def _in_own_process(item: Item, function: Callable[..., Result], limits: dict[str, Any], **shared: Any) -> Result | Failure[Item]:
    """One item in the one process that this Ray worker has beside it."""
    return next(_own_process().map(function, [item], **limits, **shared))


_kept = ExitStack()


@functools.cache
def _own_process() -> ProcessRunner:
    """Kept from item to item, as long as the Ray worker lives."""
    runner = ProcessRunner(1)
    _kept.enter_context(runner.reuse_workers())
    return runner


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
