"""One worker's batches of any kind of sample: which samples a step has, and what stands in for those that cannot be read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pretrain.config import PretrainConfig
from pretrain.damage import DamagedDatasetError, remedy, stand_ins
from pretrain.order import Footage, moments, warn_of_near_frames
from pretrain.reader import ShardReader
from pretrain.shard_files import warn_of_small_cache
from pretrain.step_samples import batch_samples, dealt
from pretrain.windows import Windows

__all__ = ["Place", "SampleBatches"]

_MOST_TRIES = 1000  # samples tried in the place of one

BatchT = TypeVar("BatchT", covariant=True)
Item = TypeVar("Item")


class Place(NamedTuple):
    """Whose turn it is: what draws are keyed by, for a sample that stands in too."""

    seed: int
    epoch: int
    sample: int
    """whose turn it is, whoever stands in for it"""
    step: int
    slot: int
    """in the global batch"""


class _Dealing(TypedDict):
    num_samples: int
    batch_size: int
    seed: int
    footage: Footage | None
    windows: Windows | None


class SampleBatches(Dataset[BatchT], Generic[BatchT, Item]):
    """Deals the samples of a dataset to steps; a subclass loads one and packs a batch."""

    def __init__(self, reader: ShardReader, config: PretrainConfig, *, rank: int, world_size: int) -> None:
        """Check that the batch can be dealt out.

        Args:
            reader: of the dataset.
            config: of the run.
            rank: of this worker.
            world_size: workers in all.

        Raises:
            ValueError: the batch is no multiple of the number of workers, or is larger than the dataset.
        """
        batch_size, item = config.train.batch_size, reader.item
        if batch_size % world_size:
            raise ValueError(f"batch_size {batch_size} cannot be shared by {world_size} workers evenly; give a multiple of {world_size}")
        if len(reader) < batch_size:
            raise ValueError(
                f"{reader.dataset_dir} has {len(reader)} {item}s, fewer than one batch of {batch_size}; "
                f"curate a larger dataset or give a batch_size of at most {len(reader)}"
            )
        self.reader, self.config, self.rank = reader, config, rank
        self.num_images = batch_size // world_size
        self._moments = None if reader.footage is None else moments(reader.footage)
        self.own = slice(rank * self.num_images, (rank + 1) * self.num_images)
        self.windows = reader.windows(batch_size)
        self._expected: tuple[int, int] | None = None

    def __len__(self) -> int:
        return self.config.train.num_steps

    @abstractmethod
    def load(self, sample: int, place: Place) -> Item | None:
        """A sample with all that is drawn for it, by the place alone; None if it cannot be read."""

    def warn(self) -> None:
        """Say once what about the dataset, its order or its cache a person may want to change."""
        seed, windows = self.config.train.seed, self.windows
        warn_of_near_frames(
            self.reader.footage,
            num_samples=len(self.reader),
            batch_size=self.config.train.batch_size,
            where=str(self.reader.dataset_dir),
            windows=None if windows is None else list(windows.first_epoch(seed=seed)),
        )
        if windows is not None:
            warn_of_small_cache(self.reader.files, [windows.window(0, number, seed=seed).shards for number in range(windows.num_windows)])

    def samples(self, step: int) -> Iterator[tuple[int, Item, int | None]]:
        """This worker's samples of a step, in their order: which one is shown, what was loaded, and the shard of the one it stands in for.

        The shard is None where the sample whose turn it is could be read.

        Raises:
            DamagedDatasetError: nothing readable was found for a place.
        """
        seed = self.config.train.seed
        epoch, samples = batch_samples(step, **self._dealing)
        self._expect(step)
        for slot in range(self.own.start, self.own.stop):
            sample = int(samples[slot])
            place = Place(seed, epoch, sample, step, slot)
            found = self.load(sample, place)
            if found is not None:
                yield sample, found, None
            else:
                yield *self._stand_in(place), self.reader.shard_of(sample)

    def moments_of(self, samples: Sequence[int]) -> Tensor | None:
        """(samples, 2) int64, video and milliseconds of each; None if the dataset does not say."""
        return None if self._moments is None else torch.from_numpy(self._moments[list(samples)].astype(np.int64))

    @property
    def num_steps_an_epoch(self) -> int:
        """Whole batches of an epoch."""
        return len(self.reader) // self.config.train.batch_size

    @property
    def _dealing(self) -> _Dealing:
        train, reader = self.config.train, self.reader
        return {
            "num_samples": len(reader),
            "batch_size": train.batch_size,
            "seed": train.seed,
            "footage": reader.footage,
            "windows": self.windows,
        }

    def _expect(self, step: int) -> None:
        """Tell a sequential reader which shards come, once a window."""
        if self.windows is None or self._expected == (own := self.windows.number_of(step)):
            return
        self._expected, seed = own, self.config.train.seed
        now, ahead = (self.windows.window(*number, seed=seed).shards for number in (own, self.windows.after(*own)))
        self.reader.files.expect(now, ahead)

    def _stand_in(self, place: Place) -> tuple[int, Item]:
        """Another sample than the one whose turn it is, loaded with what is drawn for the place."""
        train, num_samples, step = self.config.train, len(self.reader), place.step
        own = dealt(step, **self._dealing)
        candidates = stand_ins(
            own.order, step, place.slot, num_samples=num_samples, batch_size=train.batch_size, seed=train.seed, position=own.position
        )
        for sample in islice(candidates, _MOST_TRIES):
            if (found := self.load(sample, place)) is not None:
                return sample, found
        tried = min(_MOST_TRIES, num_samples)
        raise DamagedDatasetError(
            f"{self.reader.dataset_dir} has no readable {self.reader.item} among {tried} tried; {remedy(self.reader)}"
        )
