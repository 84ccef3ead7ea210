"""Where a stage function runs: in this process, in worker processes, or on Ray. What it does is not this module's business.

All three give the same results in the same order. An item whose function raises, crashes its process or takes too long becomes a
`Failure` in its place; the others go on. An item whose worker is lost through no fault of the item is tried again a few times: its node
died, or something outside killed the process, as the kernel does where memory is short.
"""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

import pebble

from flows.runners.attempt import OUT_OF_MEMORY_EXIT_CODE, Failure, attempt, attempt_guarded, describe
from flows.runners.progress import say
from warehouse.store import MACHINE_ERRORS

__all__ = ["ProcessRunner", "RayRunner", "Runner", "RunnerName", "SerialRunner", "make_runner", "raise_if_machine_failed", "successes"]

RunnerName = Literal["serial", "processes", "ray"]
Item = TypeVar("Item")
Result = TypeVar("Result")

_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGBUS)
"""Signals that do not speak against the item. The kernel sends SIGKILL where memory is short, and SIGBUS if a page of a program or a mapped
file cannot be read. Workers exit with a code of their own at their memory limit; a decoder that crashes gets SIGSEGV, SIGABRT or SIGFPE."""

_PAUSES_S = (0.5, 2.0, 8.0)
"""Before each new try of an item whose worker was lost."""


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

    def __init__(self, num_workers: int, *, pauses_s: tuple[float, ...] = _PAUSES_S) -> None:
        """Set up, without starting a process.

        Args:
            num_workers: processes.
            pauses_s: seconds before each new try of an item whose worker was lost.
        """
        self.num_workers = num_workers
        self._pauses_s = pauses_s
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

            def schedule(item: Item) -> concurrent.futures.Future[Any]:
                return pool.schedule(attempt_guarded, args=(item, function, shared, max_memory_mb), timeout=timeout_s)

            remaining = iter(items)
            running: deque[tuple[Item, concurrent.futures.Future[Any]]] = deque()
            try:
                while True:
                    while len(running) < 4 * self.num_workers and (item := next(remaining, _END)) is not _END:
                        running.append((item, schedule(item)))
                    if not running:
                        return
                    item, future = running.popleft()
                    outcome = _outcome(item, future, timeout_s, max_memory_mb)
                    for pause_s in self._pauses_s:
                        if not _is_lost(outcome):
                            break
                        time.sleep(pause_s)
                        outcome = _outcome(item, schedule(item), timeout_s, max_memory_mb)
                    yield outcome
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
        if -error.exitcode in _FROM_OUTSIDE:
            name = signal.Signals(-error.exitcode).name
            hint = "; the kernel does so where memory is short: lower --workers or --max-memory-mb" if name == "SIGKILL" else ""
            return Failure(item=item, reason="lost", detail=f"the worker process was killed from outside ({name}){hint}")
        return Failure(item=item, reason="crash", detail=f"the worker process died with exit code {error.exitcode}")
    except BrokenProcessPool as error:  # no fault of the item, and what is left would fail likewise
        raise RuntimeError(f"the worker processes are lost ({error}); run the same command again, what is finished is kept") from error
    except Exception as error:  # such as a result that cannot be pickled
        return Failure(item=item, reason="error", detail=describe(error))


def _is_lost(outcome: object) -> bool:
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

        from pretrain.ray_cluster import start_ray

        start_ray()
        limits = {"timeout_s": timeout_s, "max_memory_mb": max_memory_mb}
        nodes = _Nodes()
        shared_refs = {name: ray.put(value) for name, value in shared.items()}

        def submit(item: Item) -> Any:
            return nodes.remote(_in_own_process).remote(item, function, limits, **shared_refs)

        limit = max(4 * self.num_workers, int(2 * ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]  # nor has Ray
        remaining = iter(items)
        running: deque[tuple[Item, Any]] = deque()
        while True:
            while len(running) < limit and (item := next(remaining, _END)) is not _END:
                running.append((item, submit(item)))
            if not running:
                return
            item, reference = running.popleft()
            outcome = _ray_outcome(item, reference)
            pauses = iter(_PAUSES_S)
            while True:
                if _is_lost(outcome) and (pause_s := next(pauses, None)) is not None:
                    time.sleep(pause_s)
                elif not (isinstance(outcome, Failure) and nodes.has_another_for(outcome)):
                    break
                outcome = _ray_outcome(item, submit(item))
            yield outcome

    def reuse_workers(self) -> AbstractContextManager[None]:
        """Nothing to do: Ray keeps its workers."""
        return nullcontext()


class _Nodes:
    """The nodes of the cluster on which items may run: those that lack what items need are left out from then on."""

    def __init__(self) -> None:
        self._unfit: set[str] = set()

    def remote(self, function: Callable[..., Any]) -> Any:
        """The function as a Ray task for one of the fit nodes."""
        import ray
        from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

        options: dict[str, Any] = {"num_cpus": 1, "max_retries": 0}
        if self._unfit:
            others = NotIn(*sorted(self._unfit))  # type: ignore[no-untyped-call]  # nor has Ray
            options["scheduling_strategy"] = NodeLabelSchedulingStrategy({"ray.io/node-id": others})
        return ray.remote(**options)(function)

    def has_another_for(self, outcome: Failure[Any]) -> bool:
        """Whether an item may be tried elsewhere: its node lacked what it needs, and there is another."""
        import ray

        if outcome.reason != "misplaced" or outcome.node is None:
            return False
        if outcome.node not in self._unfit:
            say(f"Ray node {outcome.node[:12]} gets no more work of this stage: {outcome.detail}")
        self._unfit.add(outcome.node)
        alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]  # type: ignore[no-untyped-call]
        return any(node["NodeID"] not in self._unfit for node in alive)


def _ray_outcome(item: Any, reference: Any) -> Any:
    """The result, or a Failure. What Ray reports is about its nodes and workers, never about an item, which has a process of its own."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return Failure(item=item, reason="error", detail=describe(error.cause))
    except ray.exceptions.RayError as error:
        return Failure(item=item, reason="lost", detail=f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])


def _in_own_process(item: Item, function: Callable[..., Result], limits: dict[str, Any], **shared: Any) -> Result | Failure[Item]:
    """One item in the one process that this Ray worker has beside it."""
    import ray

    outcome = next(_own_process().map(function, [item], **limits, **shared))
    return replace(outcome, node=ray.get_runtime_context().get_node_id()) if isinstance(outcome, Failure) else outcome


_kept = ExitStack()


@functools.cache
def _own_process() -> ProcessRunner:
    """Kept from item to item, as long as the Ray worker lives."""
    runner = ProcessRunner(1, pauses_s=())  # the driver tries again, perhaps on another node
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
