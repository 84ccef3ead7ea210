"""Training that goes on with fewer workers when machines are lost, and with more once they are back.

Ray Train's elastic policy counts the workers for which the cluster has room. Ours holds it to numbers that share every batch evenly, as a
run's losses must not depend on them. A change starts the workers again from the newest checkpoint, which is the run's only truth.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy

from pretrain.batches import open_batches
from pretrain.config import PretrainConfig
from pretrain.notices import note
from pretrain.reader import ShardReader

__all__ = ["EvenPolicy", "even_counts"]


def even_counts(reader: ShardReader, config: PretrainConfig, *, fewest: int, most: int) -> tuple[int, ...]:
    """The numbers of workers from `fewest` to `most` that give the same losses: they share each batch, and groups of KoLeo, evenly.

    Raises:
        ValueError: KoLeo compares the images of one worker alone, so each number of workers has losses of its own; or `fewest` is none
            of these numbers.
    """
    if config.loss.koleo_weight and config.loss.koleo_over == "device":
        raise ValueError("loss.koleo_over is device, whose losses depend on the number of workers; give group or all, or one number")
    counts = []
    for count in range(fewest, most + 1):
        try:
            open_batches(reader, config, rank=0, world_size=count)
        except ValueError:
            if count == fewest:
                raise
        else:
            counts.append(count)
    return tuple(counts)


class EvenPolicy(ElasticScalingPolicy):
    """Ray Train's elastic policy, held to some numbers of workers; each change is said in the run's notices."""

    def __init__(self, scaling_config: Any, counts: tuple[int, ...], run_dir: str) -> None:
        super().__init__(scaling_config)
        self._counts, self._run_dir, self._running = counts, Path(run_dir), 0

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        possible = super()._count_possible_workers(reserved_resources)
        return max((count for count in self._counts if count <= possible), default=0)

    def _get_resize_decision(self, num_workers: int) -> Any:
        if self._running and num_workers != self._running:
            note(self._run_dir, f"training goes on with {num_workers} workers instead of {self._running}, from the last checkpoint")
        self._running = num_workers
        return super()._get_resize_decision(num_workers)
