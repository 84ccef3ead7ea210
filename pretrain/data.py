"""Reading a dataset's shards so that any step of any run can be read again: a step's batch follows from the step.

The order follows from (seed, epoch), see pretrain/order.py. Step t takes the t-th slice of the global batch size, of which each worker
takes its part. Crops are drawn per sample, masks and dropped branches for the whole global batch. So neither a
restart nor another number of workers changes what a step sees. There is no loader state to save.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pretrain.config import PretrainConfig
from pretrain.damage import DamagedDatasetError, remedy, stand_ins
from pretrain.decode import decoded_crops
from pretrain.drop_path import KeptRows, draw_kept_rows
from pretrain.masking import batch_masks, mask_weights
from pretrain.model import num_blocks
from pretrain.order import Footage, deal_epoch, moments
from pretrain.reader import ShardReader, UnreadableError

__all__ = ["Batch", "ShardReader", "StepBatches", "batch_samples", "derive_seed", "epoch_order", "open_loader"]

_MASKS, _KEPT_ROWS, _PLACES = 1, 2, 5  # keep draws apart that share seed and step
_MOST_TRIES = 1000  # samples tried in the place of one


class Batch(NamedTuple):
    """One worker's part of a step."""

    global_crops: Tensor
    """(2, images, side, side, 3) uint8"""
    local_crops: Tensor
    """(local crops, images, side, side, 3) uint8"""
    masks: Tensor
    """(2 * images, patches) bool, crop-major like the global crops flattened"""
    hidden: Tensor
    """(hidden patches,) int64, where the flattened masks are true"""
    mask_weights: Tensor
    """(hidden patches,) float32"""
    kept_global: KeptRows | None
    """global crops on which residual branches run; None for all"""
    kept_local: KeptRows | None
    """the same of local crops"""
    unreadable_shards: Tensor
    """(unreadable images,) int64, the shard of each image that could not be read, for which another sample stands in"""
    moments: Tensor | None = None
    """(images, 2) int64, video and milliseconds of each image; None if the dataset does not say"""

    @property
    def num_unreadable(self) -> Tensor:
        """Images for which another stands in."""
        return torch.tensor(len(self.unreadable_shards))


def derive_seed(*key: int) -> int:
    """A 63-bit seed that follows from non-negative integers; keys that differ anywhere give unrelated seeds."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


_deal_epoch = lru_cache(maxsize=1)(deal_epoch)


def epoch_order(
    step: int, *, num_samples: int, batch_size: int, seed: int, footage: Footage | None = None
) -> tuple[int, NDArray[np.uint32]]:
    """The epoch of a step and that epoch's samples, batch after batch.

    What an epoch leaves over (fewer samples than a batch) waits for another epoch's order.
    """
    epoch = step // (num_samples // batch_size)
    return epoch, _deal_epoch(footage, num_samples=num_samples, batch_size=batch_size, seed=seed, epoch=epoch)


def batch_samples(
    step: int, *, num_samples: int, batch_size: int, seed: int, footage: Footage | None = None
) -> tuple[int, NDArray[np.uint32]]:
    """The epoch of a step and the samples of its global batch; no sample is twice in a batch."""
    epoch, order = epoch_order(step, num_samples=num_samples, batch_size=batch_size, seed=seed, footage=footage)
    samples = order.reshape(-1, batch_size)[step % (num_samples // batch_size)]
    return epoch, np.random.default_rng([seed, step, _PLACES]).permutation(samples)


class StepBatches(Dataset[Batch]):
    """One worker's batches, indexed by step."""

    def __init__(self, reader: ShardReader, config: PretrainConfig, *, rank: int, world_size: int) -> None:
        """Check that the batch can be dealt out.

        Raises:
            ValueError: the batch is no multiple of the number of workers, or is larger than the dataset.
        """
        batch_size = config.train.batch_size
        if batch_size % world_size:
            raise ValueError(f"batch_size {batch_size} cannot be shared by {world_size} workers evenly; give a multiple of {world_size}")
        if len(reader) < batch_size:
            raise ValueError(
                f"{reader.dataset_dir} has {len(reader)} images, fewer than one batch of {batch_size}; "
                f"curate a larger dataset or give a batch_size of at most {len(reader)}"
            )
        self.reader, self.config, self.rank = reader, config, rank
        self.num_images = batch_size // world_size
        self._moments = None if reader.footage is None else moments(reader.footage)
        self._own = slice(rank * self.num_images, (rank + 1) * self.num_images)

    def __len__(self) -> int:
        return self.config.train.num_steps

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(1)  # processes are the parallelism here
        config, seed = self.config, self.config.train.seed
        epoch, samples = batch_samples(
            step, num_samples=len(self.reader), batch_size=config.train.batch_size, seed=seed, footage=self.reader.footage
        )
        crops, shown, unreadable = [], [], []
        for slot in range(self._own.start, self._own.stop):
            sample = int(samples[slot])
            draws = (seed, epoch, sample)
            found = self._crops(sample, draws)
            if found is None:
                unreadable.append(self.reader.shard_of(sample))
                sample, found = self._stand_in(step, slot, draws)
            crops.append(found)
            shown.append(sample)
        masks = self._masks(step)
        return Batch(
            global_crops=torch.from_numpy(np.stack([global_crops for global_crops, _ in crops], axis=1)),
            local_crops=torch.from_numpy(np.stack([local_crops for _, local_crops in crops], axis=1)),
            masks=torch.from_numpy(masks),
            hidden=torch.from_numpy(np.flatnonzero(masks)),
            mask_weights=torch.from_numpy(mask_weights(masks)),
            kept_global=self._kept_rows(step, num_views=2),
            kept_local=self._kept_rows(step, num_views=config.augment.num_local),
            unreadable_shards=torch.tensor(unreadable, dtype=torch.int64),
            moments=None if self._moments is None else torch.from_numpy(self._moments[shown].astype(np.int64)),
        )

    def _masks(self, step: int) -> NDArray[np.bool_]:
        """This worker's part of the masks of the whole batch, (2 * images, patches)."""
        config = self.config
        rng = random.Random(derive_seed(config.train.seed, step, _MASKS))
        masks = batch_masks(2 * config.train.batch_size, config.model.img_size // config.model.patch_size, config.mask, rng=rng)
        return masks.reshape(2, config.train.batch_size, -1)[:, self._own].reshape(2 * self.num_images, -1)

    def _kept_rows(self, step: int, *, num_views: int) -> KeptRows | None:
        """Rows on which residual branches run, for crops of which each image has `num_views`; None for all rows."""
        model, train = self.config.model, self.config.train
        if not model.drop_path_rate or not num_views:
            return None
        rng = np.random.default_rng([train.seed, step, _KEPT_ROWS, num_views])
        return draw_kept_rows(
            self._own,
            batch_size=train.batch_size,
            num_views=num_views,
            depth=num_blocks(model),
            rate=model.drop_path_rate,
            rng=rng,
        )

    def _crops(self, sample: int, draws: tuple[int, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        """Global and local crops of a sample, their draws seeded by `draws`; None if it cannot be read."""
        try:
            data = self.reader.read(sample)
        except UnreadableError:
            return None
        return decoded_crops(data, self.config.augment, global_size=self.config.model.img_size, rng=np.random.default_rng(draws))

    def _stand_in(self, step: int, slot: int, draws: tuple[int, int, int]) -> tuple[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Another sample than the one whose turn it is, and its crops."""
        train, num_samples = self.config.train, len(self.reader)
        _, order = epoch_order(step, num_samples=num_samples, batch_size=train.batch_size, seed=train.seed, footage=self.reader.footage)
        candidates = stand_ins(order, step, slot, num_samples=num_samples, batch_size=train.batch_size, seed=train.seed)
        for sample in islice(candidates, _MOST_TRIES):
            if (crops := self._crops(sample, draws)) is not None:
                return sample, crops
        tried = min(_MOST_TRIES, num_samples)
        raise DamagedDatasetError(f"{self.reader.dataset_dir} has no readable image among {tried} tried; {remedy(self.reader)}")


def open_loader(batches: StepBatches, *, first_step: int, pin_memory: bool) -> Iterator[Batch]:
    """Batches from `first_step` on, in order, made ahead by the configured number of processes."""
    num_workers = batches.config.train.num_loader_workers
    cv2.setNumThreads(1)  # ends threads that OpenCV has here: forked processes would wait for them without end
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first_step, len(batches)),
        num_workers=num_workers,
        pin_memory=pin_memory,
        prefetch_factor=4 if num_workers else None,
        generator=torch.Generator(),  # its own, so that the loader draws nothing from the step's seed
    )
    return iter(loader)
