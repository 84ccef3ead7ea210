"""The order of an epoch that reads shard by shard: through windows of consecutive shards, each dealt by itself.

Every epoch has the shards in another order. Their samples, one shard after another, are cut into windows of equally many batches. All
samples of a window are dealt to its batches as pretrain/order.py deals a whole epoch. So each shard is needed during one window, or two
if it lies across their border, and a window's order follows from its number alone: nothing before it is read or computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretrain.order import Footage, deal

__all__ = ["Window", "Windows", "make_windows"]

_LEFT_OUT, _SHARDS, _DEAL = 11, 12, 13  # keep draws apart that share seed and epoch


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Samples whose batches are dealt together."""

    epoch: int
    first_batch: int
    """of the epoch"""
    samples: NDArray[np.uint32]
    """in the order of the shards"""
    shards: tuple[int, ...]
    """that they are in, in the epoch's order"""
    num_batches: int


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """What the windows of every epoch follow from, besides the seed."""

    samples: NDArray[np.uint32]
    """(samples,) shard after shard, each by place in it"""
    first: NDArray[np.int64]
    """(shards + 1,) where each shard begins in `samples`; the last is their number"""
    batch_size: int
    """global"""
    num_windows: int
    """of an epoch"""
    footage: Footage | None
    ranks: NDArray[np.uint32] | None
    """(samples,) place of each in `footage.samples`"""

    @property
    def num_batches(self) -> int:
        """Of an epoch."""
        return len(self.samples) // self.batch_size

    def number_of(self, step: int) -> tuple[int, int]:
        """Epoch and number of the window that a step's batch is in."""
        epoch, batch = divmod(step, self.num_batches)
        return epoch, ((batch + 1) * self.num_windows - 1) // self.num_batches

    def after(self, epoch: int, number: int) -> tuple[int, int]:
        """The next window."""
        return (epoch, number + 1) if number + 1 < self.num_windows else (epoch + 1, 0)

    def window(self, epoch: int, number: int, *, seed: int) -> Window:
        """A window; it follows from the arguments alone."""
        num_samples, size = len(self.samples), self.batch_size
        first, last = (n * self.num_batches // self.num_windows for n in (number, number + 1))
        num_left_out = num_samples - self.num_batches * size
        rng = np.random.default_rng([seed, epoch, _LEFT_OUT])
        left_out = np.sort(rng.choice(num_samples, num_left_out, replace=False, shuffle=False)) - np.arange(num_left_out)
        places = np.arange(first * size, last * size)
        places += np.searchsorted(left_out, places, side="right")  # in the epoch's row of all samples
        shards = np.random.default_rng([seed, epoch, _SHARDS]).permutation(len(self.first) - 1)
        ends = np.diff(self.first)[shards].cumsum()
        turns = np.searchsorted(ends, places, side="right")
        own = shards[turns]
        samples = self.samples[self.first[own + 1] - ends[turns] + places]
        return Window(epoch, first, samples, tuple(shards[np.unique(turns)].tolist()), last - first)

    def deal(self, window: Window, *, seed: int) -> NDArray[np.uint32]:
        """The samples of a window, batch after batch."""
        rng = np.random.default_rng([seed, window.epoch, _DEAL, window.first_batch])
        if self.footage is None or self.ranks is None:
            return rng.permutation(window.samples)
        rows, first = self._by_video(window)
        return deal(self.footage.samples[rows], np.diff(first), num_batches=window.num_batches, rng=rng)

    def first_epoch(self, *, seed: int) -> Iterator[tuple[Footage, int]]:
        """Footage and number of batches of each window of the first epoch; none if the dataset says nothing of videos."""
        for number in range(self.num_windows if self.footage is not None else 0):
            assert self.footage is not None
            window = self.window(0, number, seed=seed)
            rows, first = self._by_video(window)
            yield Footage(self.footage.samples[rows], first, self.footage.times_us[rows]), window.num_batches

    def _by_video(self, window: Window) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Places of a window's samples in the footage, in order, and where each video that has some begins among them."""
        assert self.footage is not None
        assert self.ranks is not None
        rows = np.sort(self.ranks[window.samples])
        videos = np.searchsorted(self.footage.first, rows, side="right")
        return rows, np.concatenate([[0], np.flatnonzero(np.diff(videos)) + 1, [len(rows)]])


def make_windows(
    samples: NDArray[np.uint32], first: NDArray[np.int64], *, batch_size: int, window_images: int, footage: Footage | None
) -> Windows:
    """Windows of as many batches as `window_images` holds at the most, but one at the least; all of an epoch are about as large.

    Ten million samples need 40 MB, and as much again with footage.

    Args:
        samples: shard after shard, each by place in it.
        first: where each shard begins in `samples`; the last is their number.
        batch_size: global.
        window_images: most images of a window.
        footage: of the dataset.
    """
    num_batches = len(samples) // batch_size
    num_windows = -(-num_batches // max(1, window_images // batch_size))
    ranks = None
    if footage is not None:
        ranks = np.empty(len(samples), np.uint32)
        ranks[footage.samples] = np.arange(len(samples), dtype=np.uint32)
    return Windows(samples, first, batch_size, num_windows, footage, ranks)
