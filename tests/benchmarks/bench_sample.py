"""Time and memory of balanced sampling, beside one sort of the same rows by cluster and draw: the least that any sampling needs.

python tests/benchmarks/bench_sample.py [POINTS]      ten million unless given: about a minute
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from curation.selection.draws import mix
from curation.selection.sample import balanced_sample


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of the work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main(num_points: int) -> None:
    """Print a line for each way of sampling a tenth of the points from a long-tailed tree of four levels."""
    rng = np.random.default_rng(0)
    num_leaves = min(100_000, max(4, num_points // 20))
    leaf = np.minimum((num_leaves * rng.random(num_points) ** 2).astype(np.int32), num_leaves - 1)
    paths = np.stack([leaf, leaf // 10, leaf // 100, leaf // 1000], axis=1)
    draws = mix(np.arange(num_points))
    video = rng.integers(0, max(1, num_points // 1000), num_points)
    floor = seconds(lambda: np.lexsort((draws, leaf)))
    print(f"{num_points} points, {num_leaves} leaves, 4 levels; one sort by leaf and draw: {floor:.1f} s")
    weights = np.where(video % 7 == 0, 2.0, 1.0)
    caps = [(video, 500), (video // 4, 1500), (video % 20, num_points // 30), (rng.integers(0, 9, num_points), num_points // 12)]
    for name, options in {"plain": {}, "weights": {"weights": weights}, "four caps": {"caps": caps}}.items():
        took = seconds(
            lambda options=options: balanced_sample(  # type: ignore[misc]
                paths, num_points // 10, within_leaf="random", draws=draws, seed=0, **options
            )
        )
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{name}: {took:.1f} s, {took / floor:.1f} times the sort; peak so far {peak_gib:.2f} GiB of the process")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
