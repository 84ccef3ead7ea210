"""Worker processes on this machine, each of which is watched and replaced if it dies or hangs."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import pebble

from flows.runners.attempt import OUT_OF_MEMORY_EXIT_CODE, Failure, Item, Result, attempt_guarded, describe
from flows.runners.progress import say
from flows.runners.resources import ONE_CPU, Resources, check_fits, this_machine
from flows.runners.window import Again, Try, Window

__all__ = ["PAUSES_S", "ProcessRunner", "is_lost"]

PAUSES_S = (0.5, 2.0, 8.0)
"""Before each new try of an item whose worker was lost."""

_SPAWN = multiprocessing.get_context("spawn")
_FORK = multiprocessing.get_context("forkserver") if sys.platform == "linux" else _SPAWN
"""On Linux several workers are forks of one process that has imported what they run, PyTorch for example, and has no thread. A single
worker, such as that of a Ray task, would gain nothing. macOS forks badly."""

_LONGEST_TMPDIR = 70
"""bytes: a fork server's socket lies in the folder for temporary files, and its path has at most 107"""

_SERVER_LOST = 255
"""exit code that multiprocessing gives where the fork server is gone and nobody knows the worker's own"""

_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGBUS)
"""Signals that do not speak against the item. The kernel sends SIGKILL where memory is short, and SIGBUS if a page of a program or a mapped
file cannot be read. Workers exit with a code of their own at their memory limit; a decoder that crashes gets SIGSEGV, SIGABRT or SIGFPE."""


class ProcessRunner:
    """In worker processes of one thread each, as many as there are cores; a worker that dies or hangs is replaced."""

    def __init__(self, num_workers: int, *, pauses_s: tuple[float, ...] = PAUSES_S, environment: Mapping[str, str] | None = None) -> None:
        """Set up, without starting a process.

        Args:
            num_workers: processes.
            pauses_s: seconds before each new try of an item whose worker was lost.
            environment: variables that every worker sets before its first item.
        """
        self.num_workers = num_workers
        self._pauses_s = pauses_s
        self._environment = dict(environment or {})
        self._shared_pool: pebble.ProcessPool | None = None

    @property
    def name(self) -> Literal["processes"]:
        """As the command line calls it."""
        return "processes"

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
        """Yield `function(item, **shared)` for each item in order, or its Failure."""
        for _, outcome in self._run(function, items, shared, resources, (timeout_s, max_memory_mb), in_order=True):
            yield outcome

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
        """Yield an item's place and the same as it ends."""
        return self._run(function, items, shared, resources, (timeout_s, max_memory_mb), in_order=False)

    def _run(
        self,
        function: Callable[..., Result],
        items: Sequence[Item],
        shared: dict[str, Any],
        resources: Resources,
        limits: tuple[float | None, int | None],
        *,
        in_order: bool,
    ) -> Iterator[tuple[int, Result | Failure[Item]]]:
        if not items:
            return
        timeout_s, max_memory_mb = limits
        at_once = self._num_at_once(resources)
        with self._pool(min(at_once, len(items)), function) as pool:
            _start(pool)

            def begin(item: Item) -> concurrent.futures.Future[Any]:
                return pool.schedule(attempt_guarded, args=(item, function, shared, max_memory_mb), timeout=timeout_s)

            def judge(tried: Try[Item], future: concurrent.futures.Future[Any]) -> Any:
                outcome = _outcome(tried.item, future, timeout_s, max_memory_mb)
                if isinstance(outcome, Failure) and outcome.reason == "memory" and not tried.num_short:
                    tried.num_short += 1
                    return Again()  # perhaps taken by a neighbour or an earlier item
                if is_lost(outcome) and (again := tried.after_loss(self._pauses_s)):
                    return again
                return outcome

            most = 4 * at_once if at_once == self.num_workers or self._shared_pool is None else at_once
            window = Window(most=most, begin=begin, ended=_ended, judge=judge)
            try:
                yield from window.outcomes(items, in_order=in_order)
            finally:
                if window.running:  # the caller left early: do not wait for work nobody wants
                    pool.stop()  # type: ignore[no-untyped-call]  # pebble has no stubs for it

    @contextmanager
    def reuse_workers(self) -> Iterator[None]:
        """Keep the worker processes between the maps inside."""
        try:
            with _new_pool(self.num_workers, self._environment) as self._shared_pool:
                yield
        finally:
            self._shared_pool = None

    def machines(self) -> list[Resources]:
        """This one, with a CPU for each worker; all workers use its first GPU."""
        here = this_machine()
        return [replace(here, cpus=self.num_workers, gpus=min(1, here.gpus))]

    def _num_at_once(self, resources: Resources) -> int:
        """Number of items that may run at once. An item of more CPUs than there are workers runs alone."""
        if resources == ONE_CPU:
            return self.num_workers
        (machine,) = self.machines()
        asked = replace(resources, cpus=min(resources.cpus, self.num_workers))
        check_fits(asked, [machine], where="this machine")
        at_once = min(self.num_workers, asked.num_that_fit(machine))
        if at_once < self.num_workers:
            say(f"{at_once} of {self.num_workers} workers run at once: an item asks for {resources}, and this machine has {machine}")
        return at_once

    def _pool(self, num_workers: int, function: Callable[..., Any]) -> AbstractContextManager[pebble.ProcessPool]:
        _FORK.set_forkserver_preload(["__main__", function.__module__])  # of no effect once the first worker has started
        if self._shared_pool is not None and _start(self._shared_pool):
            return nullcontext(self._shared_pool)
        return _new_pool(num_workers, self._environment)


@contextmanager
def _new_pool(num_workers: int, environment: dict[str, str]) -> Iterator[pebble.ProcessPool]:
    """A pool whose workers, those that replace a dead one among them, have one thread each as long as it lives."""
    with _single_threaded_children():
        variables = dict(os.environ) | environment
        with pebble.ProcessPool(
            max_workers=num_workers, context=_start_of(num_workers), initializer=_set_variables, initargs=(variables,)
        ) as pool:
            yield pool


def _start_of(num_workers: int) -> Any:
    """How that many workers are started."""
    return _FORK if num_workers > 1 and len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_TMPDIR else _SPAWN


def _start(pool: pebble.ProcessPool) -> bool:
    """Start its workers, if it has none yet, with SIGINT blocked: Ctrl-C while they import would end them with tracebacks.

    The process that forks workers, later workers and those that replace a dead one inherit the blocked signal. This process ends them.

    Returns:
        whether it takes work.
    """
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # first, because it unblocks the signal when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return bool(pool.active)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _set_variables(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _ended(futures: list[concurrent.futures.Future[Any]], timeout_s: float | None) -> Iterable[concurrent.futures.Future[Any]]:
    return concurrent.futures.wait(futures, timeout_s, concurrent.futures.FIRST_COMPLETED).done


def _outcome(item: Item, future: concurrent.futures.Future[Any], timeout_s: float | None, max_memory_mb: int | None) -> Any:
    try:
        return future.result()
    except concurrent.futures.TimeoutError:
        return Failure(item=item, reason="timeout", detail=f"took longer than {timeout_s:g} s")
    except pebble.ProcessExpired as error:
        if error.exitcode == OUT_OF_MEMORY_EXIT_CODE:
            return Failure(item=item, reason="memory", detail=f"needed more than {max_memory_mb} MiB of memory")
        if -error.exitcode in _FROM_OUTSIDE:
            name = signal.Signals(-error.exitcode).name
            hint = "; the kernel does so where memory is short: lower --workers or --max-memory-mb" if name == "SIGKILL" else ""
            return Failure(item=item, reason="lost", detail=f"the worker process was killed from outside ({name}){hint}")
        if error.exitcode == _SERVER_LOST:
            return Failure(item=item, reason="lost", detail="the process that starts worker processes was killed from outside")
        return Failure(item=item, reason="crash", detail=f"the worker process died with exit code {error.exitcode}")
    except BrokenProcessPool as error:  # no fault of the item, and what is left would fail likewise
        raise RuntimeError(f"the worker processes are lost ({error}); run the same command again, what is finished is kept") from error
    except Exception as error:  # such as a result that cannot be pickled
        return Failure(item=item, reason="error", detail=describe(error))


def is_lost(outcome: object) -> bool:
    """Whether it is the Failure of an item whose worker was lost through no fault of the item."""
    return isinstance(outcome, Failure) and outcome.reason == "lost"


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
