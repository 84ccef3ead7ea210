"""The samples of a step: which epoch and which of its batches, or of a window's batches, is its own."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretrain.order import Footage, deal_epoch
from pretrain.windows import Window, Windows

__all__ = ["Dealt", "batch_samples", "dealt"]

_PLACES = 5  # keeps draws apart that share seed and step


class Dealt(NamedTuple):
    """Batches that were dealt together: those of an epoch, or of a window of it."""

    epoch: int
    order: NDArray[np.uint32]
    """their samples, batch after batch"""
    position: int
    """which of them is the step's"""
    window: Window | None = None


_deal_epoch = lru_cache(maxsize=1)(deal_epoch)


@lru_cache(maxsize=1)
def _deal_window(windows: Windows, epoch: int, number: int, seed: int) -> tuple[Window, NDArray[np.uint32]]:
    window = windows.window(epoch, number, seed=seed)
    return window, windows.deal(window, seed=seed)


def dealt(
    step: int, *, num_samples: int, batch_size: int, seed: int, footage: Footage | None = None, windows: Windows | None = None
) -> Dealt:
    """What the batch of a step was dealt with. What an epoch leaves over (fewer samples than a batch) waits for another epoch's order.

    Args:
        step: 0 for the first.
        num_samples: of the dataset.
        batch_size: global.
        seed: of the run.
        footage: of the dataset.
        windows: of a sequential reader.
    """
    num_batches = num_samples // batch_size
    if windows is None:
        epoch, position = divmod(step, num_batches)
        return Dealt(epoch, _deal_epoch(footage, num_samples=num_samples, batch_size=batch_size, seed=seed, epoch=epoch), position)
    epoch, number = windows.number_of(step)
    window, order = _deal_window(windows, epoch, number, seed)
    return Dealt(epoch, order, step % num_batches - window.first_batch, window)


def batch_samples(
    step: int, *, num_samples: int, batch_size: int, seed: int, footage: Footage | None = None, windows: Windows | None = None
) -> tuple[int, NDArray[np.uint32]]:
    """The epoch of a step and the samples of its global batch; no sample is twice in a batch. Arguments are those of `dealt`."""
    found = dealt(step, num_samples=num_samples, batch_size=batch_size, seed=seed, footage=footage, windows=windows)
    samples = found.order.reshape(-1, batch_size)[found.position]
    return found.epoch, np.random.default_rng([seed, step, _PLACES]).permutation(samples)
