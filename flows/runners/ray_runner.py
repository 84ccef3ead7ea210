"""Items as tasks of a Ray cluster: the one that RAY_ADDRESS names, or a local one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from flows.runners.attempt import Failure, Item, Result, describe
from flows.runners.process_runner import PAUSES_S, ProcessRunner, is_lost
from flows.runners.progress import say
from flows.runners.ray_start import start_ray
from flows.runners.resources import ONE_CPU, Resources, check_fits
from flows.runners.window import Again, Try, Window
from warehouse.private_files import file_mask

__all__ = ["ProcessBeside", "RayRunner"]

_CHECK_EVERY_S = 60.0
"""While nothing ends: whether a node is left that could run an item."""
_MOST_MISSED = 5
"""Checks in a row that find no such node, before the run ends."""


@dataclass(frozen=True, slots=True)
class RayRunner:
    """On a Ray cluster: the one RAY_ADDRESS names, or a local one.

    Each Ray worker runs its items in a process of its own, one that it watches and replaces as `ProcessRunner` does. Ray by itself could
    not tell why a worker died, would count an item's time while it still waits for a core, and cannot stop a worker that hangs.
    """

    num_workers: int

    @property
    def name(self) -> Literal["ray"]:
        """As the command line calls it."""
        return "ray"

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
        start_ray()
        import ray

        told = {"timeout_s": limits[0], "max_memory_mb": limits[1]}
        mask = file_mask()
        nodes = _Nodes(resources)
        nodes.check()
        shared_refs = {name: ray.put(value) for name, value in shared.items()}

        def begin(item: Item) -> Any:
            return nodes.task.options(**nodes.options()).remote(item, function, told, mask, **shared_refs)

        def judge(tried: Try[Item], reference: Any) -> Any:
            outcome = _outcome(tried.item, reference)
            if is_lost(outcome) and (again := tried.after_loss(PAUSES_S)):
                return again
            return Again() if isinstance(outcome, Failure) and nodes.has_another_for(outcome) else outcome

        most = max(4 * self.num_workers, int(2 * ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]  # nor has Ray
        return (yield from Window(most=most, begin=begin, ended=nodes.ended, judge=judge).outcomes(items, in_order=in_order))

    def machines(self) -> list[Resources]:
        """The nodes of the cluster, which is started where there is none."""
        start_ray()
        return [*_alive().values(), *_that_may_be_started()]

    def reuse_workers(self) -> AbstractContextManager[None]:
        """Nothing to do: Ray keeps its workers."""
        return nullcontext()


class _Nodes:
    """The nodes of the cluster on which items may run: those that lack what items need are left out from then on."""

    def __init__(self, resources: Resources) -> None:
        import ray

        self._resources = resources
        self._unfit: set[str] = set()
        self._num_missed = 0
        # max_calls: Ray otherwise ends the worker of a GPU after each item, and with it the process that has loaded the model
        self.task: Any = ray.remote(max_retries=0, max_calls=0)(_in_own_process)

    def check(self) -> None:
        """Refuse what Ray would wait for without end. For one CPU it waits, since every node has one; a client of Ray cannot tell.

        Raises:
            ValueError: no node of the cluster has what an item asks for, and none that has can be started.
        """
        import ray

        if self._resources != ONE_CPU and not ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]  # nor has Ray
            check_fits(self._resources, [*_alive().values(), *_that_may_be_started()], where="the Ray cluster")

    def check_again(self) -> None:
        """The same while an item waits: nodes may be restarting, so only several checks in a row count.

        Raises:
            RuntimeError: as `check`; a later try may find the nodes there.
        """
        try:
            self.check()
        except ValueError as error:
            self._num_missed += 1
            if self._num_missed >= _MOST_MISSED:
                raise RuntimeError(f"{error}; run the same command again when the nodes are back, what is finished is kept") from error
        else:
            self._num_missed = 0

    def ended(self, references: list[Any], timeout_s: float | None) -> Iterable[Any]:
        """Those that have ended, once one has or after so many seconds; checks again while nothing ends."""
        import ray

        wait_s = _CHECK_EVERY_S if timeout_s is None else min(timeout_s, _CHECK_EVERY_S)
        if not ray.wait(references, timeout=wait_s)[0]:
            if wait_s == _CHECK_EVERY_S:
                self.check_again()
            return ()
        return cast("list[Any]", ray.wait(references, num_returns=len(references), timeout=0)[0])

    def options(self) -> dict[str, Any]:
        """Of a Ray task for one of the fit nodes."""
        from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

        asked = self._resources
        options: dict[str, Any] = {"num_cpus": asked.cpus, "num_gpus": asked.gpus, "memory": asked.memory_bytes or None}
        if self._unfit:
            others = NotIn(*sorted(self._unfit))  # type: ignore[no-untyped-call]  # nor has Ray
            options["scheduling_strategy"] = NodeLabelSchedulingStrategy({"ray.io/node-id": others})
        return options

    def has_another_for(self, outcome: Failure[Any]) -> bool:
        """Whether an item may be tried elsewhere: its node lacked what it needs, and there is another."""
        if outcome.reason != "misplaced" or outcome.node is None:
            return False
        if outcome.node not in self._unfit:
            say(f"Ray node {outcome.node[:12]} gets no more work of this stage: {outcome.detail}")
        self._unfit.add(outcome.node)
        return any(self._resources.num_that_fit(machine) for node, machine in _alive().items() if node not in self._unfit)


def _alive() -> dict[str, Resources]:
    """What each node has in all, by its id."""
    import ray

    return {node["NodeID"]: _as_resources(node["Resources"]) for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]


def _that_may_be_started() -> list[Resources]:
    """One of each kind of node that a cluster with an autoscaler starts when tasks wait for it."""
    import ray

    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]  # such a client cannot ask
        return []
    config = ray._private.state.state.get_cluster_config()
    return [_as_resources(group.resources) for group in config.node_group_configs if group.max_count != 0] if config else []


def _as_resources(found: Any) -> Resources:
    return Resources(cpus=found.get("CPU", 0), gpus=found.get("GPU", 0), memory_bytes=int(found.get("memory", 0)))


def _outcome(item: Any, reference: Any) -> Any:
    """The result, or a Failure. What Ray reports is about its nodes and workers, never about an item, which has a process of its own."""
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return Failure(item=item, reason="error", detail=describe(error.cause))
    except ray.exceptions.RayError as error:
        return Failure(item=item, reason="lost", detail=f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])


class ProcessBeside:
    """The process in which a Ray worker runs its items, kept from item to item.

    It sees the GPUs of its items only. While it lives it holds their memory, which Ray thinks is free again, so it ends when it is idle.
    """

    def __init__(self, *, idle_s: float = 30.0) -> None:
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._life = ExitStack()
        self._runner: ProcessRunner | None = None
        self._gpus: str | None = None
        self._timer: threading.Timer | None = None

    @contextmanager
    def in_use(self, gpus: str | None) -> Iterator[ProcessRunner]:
        """A runner with that process.

        Args:
            gpus: their numbers, as in CUDA_VISIBLE_DEVICES; None if the item asks for none.
        """
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if self._runner is None or gpus != self._gpus:
                self._end()
                environment = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
                self._runner = ProcessRunner(1, pauses_s=(), environment=environment)  # the driver tries again, perhaps on another node
                self._life.enter_context(self._runner.reuse_workers())
                self._gpus = gpus
            yield self._runner
            if gpus is not None:
                self._timer = threading.Timer(self._idle_s, self._end_if_idle)
                self._timer.daemon = True
                self._timer.start()

    def _end_if_idle(self) -> None:
        with self._lock:
            if self._timer is threading.current_thread():  # not if an item came while this waited for the lock
                self._end()

    def _end(self) -> None:
        self._life.close()
        self._runner = None


_beside = ProcessBeside()


def _in_own_process(
    item: Item, function: Callable[..., Result], limits: dict[str, Any], mask: int, **shared: Any
) -> Result | Failure[Item]:
    """One item in the one process that this Ray worker has beside it; `mask` is what its files lack, as on the driver's machine."""
    import ray

    os.umask(mask)  # a worker of another machine has its raylet's
    with _beside.in_use(os.environ.get("CUDA_VISIBLE_DEVICES") if ray.get_gpu_ids() else None) as runner:
        outcome = next(runner.map(function, [item], **limits, **shared))
    return replace(outcome, node=ray.get_runtime_context().get_node_id()) if isinstance(outcome, Failure) else outcome
