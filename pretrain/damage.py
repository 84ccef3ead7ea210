"""Samples that cannot be read: what stands in for them, and when there are too many to go on.

A copy of one readable sample in the place of many would poison a batch, for KoLeo and the centring take copies for structure. So stand-ins
are drawn, each from another batch of the epoch, and no two of a batch are the same.
"""

from __future__ import annotations

import logging
import shlex
from collections import Counter, deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pretrain.reader import ShardReader

__all__ = ["DamagedDatasetError", "UnreadableLog", "remedy", "stand_ins"]

_log = logging.getLogger(__name__)

_STAND_INS, _LAST_RESORT = 3, 4  # keep draws apart that share seed and step
_MOST_NAMED = 5


class DamagedDatasetError(ValueError):
    """More samples cannot be read than the run may go on with."""


def stand_ins(
    order: NDArray[np.integer], step: int, slot: int, *, num_samples: int, batch_size: int, seed: int, position: int | None = None
) -> Iterator[int]:
    """Samples that may stand in for one of a batch, in the order in which they are tried.

    First those at the same place of the other batches dealt with it, these in an order that follows from seed and step. Places differ, so
    stand-ins of one batch differ from each other and from what is in it. After them comes any sample, in an order of the place's own,
    those of the batch itself last.

    Args:
        order: samples of the step's epoch, or of its window, batch after batch.
        step: of the run.
        slot: place in the global batch.
        num_samples: of the dataset.
        batch_size: global.
        seed: of the run.
        position: which batch of `order` is the step's; counted from the first step if not given.
    """
    num_batches = len(order) // batch_size
    position = step % num_batches if position is None else position
    others = 1 + np.random.default_rng([seed, step, _STAND_INS]).permutation(num_batches - 1)
    for distance in others:
        yield int(order[(position + int(distance)) % num_batches * batch_size + slot])
    anywhere = np.random.default_rng([seed, step, _LAST_RESORT, slot]).permutation(num_samples)
    is_in_batch = np.isin(anywhere, order[position * batch_size : (position + 1) * batch_size])
    yield from anywhere[~is_in_batch].tolist()
    yield from anywhere[is_in_batch].tolist()


class UnreadableLog:
    """Counts samples that could not be read, names each shard once, and stops a run with too many of them."""

    def __init__(self, reader: ShardReader, *, limit: float, window: int = 10_000, say: Callable[[str], None] = _log.warning) -> None:
        """Count from here on.

        Args:
            reader: of the dataset.
            limit: greatest share of the last `window` images that may be unreadable.
            window: images; so many that chance does not stop a run that is well below the limit.
            say: tells a person one sentence.
        """
        self._reader, self._limit, self._window, self._say = reader, limit, window, say
        self._recent: deque[tuple[int, tuple[int, ...]]] = deque()
        self._num_images, self._shards = 0, Counter[int]()
        self._named: set[int] = set()

    def add(self, num_images: int, unreadable_shards: list[int]) -> None:
        """Count a worker's part of a step.

        Args:
            num_images: of the part.
            unreadable_shards: the shard of each of them that could not be read.

        Raises:
            DamagedDatasetError: too many could not; the message names their shards and what to do.
        """
        for shard in sorted(set(unreadable_shards) - self._named):
            self._named.add(shard)
            name, trouble = self._reader.shard_names[shard], self._reader.trouble(shard)
            self._say(f"{name} {trouble}; other samples stand in for those that cannot be read")
        self._recent.append((num_images, tuple(unreadable_shards)))
        self._num_images += num_images
        self._shards.update(unreadable_shards)
        while self._num_images - self._recent[0][0] >= self._window:
            num_gone, gone = self._recent.popleft()
            self._num_images -= num_gone
            self._shards.subtract(gone)
        num_unreadable = self._shards.total()
        if num_unreadable > self._limit * max(self._num_images, self._window):
            raise DamagedDatasetError(self._report(num_unreadable))

    def _report(self, num_unreadable: int) -> str:
        worst = [(self._reader.shard_names[shard], count) for shard, count in self._shards.most_common() if count]
        named = ", ".join(f"{name} ({count})" for name, count in worst[:_MOST_NAMED])
        more = f" and {len(worst) - _MOST_NAMED} more shards" if len(worst) > _MOST_NAMED else ""
        return (
            f"{num_unreadable} of the last {self._num_images} images could not be read, and train.max_unreadable is {self._limit:g} "
            f"of {self._window}; they are in {named}{more} of {self._reader.dataset_dir}; {remedy(self._reader)}, "
            "then give the same command to continue"
        )


def remedy(reader: ShardReader) -> str:
    """What to do about a dataset with damaged shards."""
    folder = reader.dataset_dir
    if reader.data.shards:
        return f"see that --data.shards {reader.data.shards} has the tars that {folder}/dataset.json names, whole"
    if folder.parent.name == "shards":
        check = f"`endoforge verify --lake {shlex.quote(str(folder.parent.parent))} {shlex.quote(reader.dataset_name)}` says what is wrong"
    else:
        check = f"`cd {shlex.quote(str(folder))} && sha256sum -c SHA256SUMS` says which files differ"
    return f"{check}: restore those files from a copy, or curate the dataset again"
