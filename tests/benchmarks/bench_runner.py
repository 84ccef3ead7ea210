"""Share of the time in which workers are busy, as videos of very different lengths are mapped: a model and a real run.

python tests/benchmarks/bench_runner.py [items of the model] [ray]. The model runs the scheduling code of the runners on a clock of its own;
durations are lognormal with a sigma of 0.8, so that the longest of 20,000 takes some 20 times the mean. The limit is perfect packing: all
workers are busy until the work is done, or until the longest item is. The real run has 16 processes that sleep; `ray` adds Ray workers.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.runners import make_runner
from flows.runners.window import Try, Window

SIGMA = 0.8
PER_COMMIT = 256
CLUSTERS = (8, 16, 64, 200, 800)
NUM_SLEEPERS = 16
MEAN_SLEEP_S = 1.0


def durations(num: int, *, mean_s: float, seed: int) -> list[float]:
    """Heavy-tailed, as videos are."""
    rng = random.Random(seed)
    drawn = [rng.lognormvariate(0.0, SIGMA) for _ in range(num)]
    return [value * mean_s * num / sum(drawn) for value in drawn]


def limit(times: Sequence[float], num_workers: int) -> float:
    """The largest share that any order could reach."""
    shortest = max(sum(times) / num_workers, max(times))
    return sum(times) / (num_workers * shortest)


@dataclass
class Clock:
    """Workers that take items in the order in which they were begun; time passes only where the driver waits."""

    num_workers: int
    now: float = 0.0
    waiting: deque[int] = field(default_factory=deque)
    at_work: list[tuple[float, int]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _lasts: dict[int, float] = field(default_factory=dict)

    def begin(self, duration: float) -> int:
        number = next(self._numbers)
        self._lasts[number] = duration
        self.waiting.append(number)
        self._fill()
        return number

    def ended(self, handles: list[int], timeout_s: float | None) -> Iterable[int]:
        self.now, number = heapq.heappop(self.at_work)
        self._fill()
        return [number]

    def _fill(self) -> None:
        while self.waiting and len(self.at_work) < self.num_workers:
            number = self.waiting.popleft()
            heapq.heappush(self.at_work, (self.now + self._lasts[number], number))


def modelled(times: Sequence[float], num_workers: int, most: int, *, in_order: bool, per_map: int | None = None) -> float:
    """Busy share; `per_map` items are mapped at a time, and the next only when all of them have ended."""
    clock = Clock(num_workers)
    for start in range(0, len(times), per_map or len(times)):
        window: Window[float] = Window(most=most, begin=clock.begin, ended=clock.ended, judge=_as_it_is)
        for _ in window.outcomes(times[start : start + (per_map or len(times))], in_order=in_order):
            pass
    return sum(times) / (num_workers * clock.now)


def _as_it_is(tried: Try[float], handle: int) -> float:
    return tried.item


def sleep(duration: float) -> tuple[float, float]:
    """When it began and ended."""
    began = time.time()
    time.sleep(duration)
    return began, time.time()


def measured(run: Callable[[], Iterable[Any]], times: Sequence[float]) -> float:
    """Busy share of the sleepers from the first item's start to the last item's end: starting workers is not what is asked for."""
    spans: list[tuple[float, float]] = list(run())
    return sum(times) / (NUM_SLEEPERS * (max(end for _, end in spans) - min(began for began, _ in spans)))


def in_batches(runner: Any, times: Sequence[float]) -> Iterator[Any]:
    """As ingest did: in order, and the next batch when all of the one before has ended."""
    with runner.reuse_workers():
        for start in range(0, len(times), PER_COMMIT):
            yield from runner.map(sleep, times[start : start + PER_COMMIT])


def main(num_items: int, runners: Sequence[Any]) -> None:
    """Print both tables."""
    times = durations(num_items, mean_s=60.0, seed=1)
    print(f"model: {num_items} items, the longest {max(times) / 60:.0f} times the mean")
    print("workers  in order, by 256  in order  as they end  and longest first  limit")
    for num_workers in CLUSTERS:
        most = 4 * num_workers if num_workers <= 16 else 2 * num_workers  # of processes, and of a Ray cluster
        by_256 = modelled(times, num_workers, most, in_order=True, per_map=PER_COMMIT)
        ordered = modelled(times, num_workers, most, in_order=True)
        unordered = modelled(times, num_workers, most, in_order=False)
        longest_first = modelled(sorted(times, reverse=True), num_workers, most, in_order=False)
        said = f"{by_256:17.2f} {ordered:9.2f} {unordered:12.2f} {longest_first:18.2f} {limit(times, num_workers):6.2f}"
        print(f"{num_workers:7} {said}", flush=True)
    times = durations(2 * PER_COMMIT, mean_s=MEAN_SLEEP_S, seed=2)
    print(f"real: {NUM_SLEEPERS} sleeping workers, {len(times)} items of {MEAN_SLEEP_S:g} s on average, the longest {max(times):.1f} s")
    print("runner     in order, by 256  in order  as they end  and longest first  limit, load")
    for name in runners:
        runner = make_runner(name, NUM_SLEEPERS)
        shares = [
            measured(lambda: in_batches(runner, times), times),  # noqa: B023  # called at once
            measured(lambda: runner.map(sleep, times), times),  # noqa: B023
            measured(lambda: (span for _, span in runner.map_unordered(sleep, times)), times),  # noqa: B023
            measured(lambda: (span for _, span in runner.map_unordered(sleep, sorted(times, reverse=True))), times),  # noqa: B023
        ]
        said = f"{shares[0]:16.2f} {shares[1]:9.2f} {shares[2]:12.2f} {shares[3]:18.2f} {limit(times, NUM_SLEEPERS):6.2f}"
        print(f"{name:10} {said} {os.getloadavg()}", flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 20_000, ["processes", *(["ray"] if "ray" in given else [])])
