"""Reading a dataset's shards so that any step of any run can be read again: a step's batch follows from the step.

The order is a permutation of all samples from (seed, epoch). Step t takes the t-th slice of the global batch size, of which each worker
takes its part. Crops are drawn per sample, masks and dropped branches for the whole global batch. So neither a
restart nor another number of workers changes what a step sees. There is no loader state to save.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pretrain.augment import multi_crop
from pretrain.config import PretrainConfig
from pretrain.drop_path import KeptRows, draw_kept_rows
from pretrain.masking import batch_masks, mask_weights
from pretrain.model import num_blocks

__all__ = ["Batch", "ShardReader", "StepBatches", "batch_samples", "derive_seed", "open_loader"]

_log = logging.getLogger(__name__)

_MASKS, _KEPT_ROWS = 1, 2  # keep draws apart that share seed and step
_MAX_OPEN_SHARDS = 128  # far below the usual limit of 1024 open files


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
    num_unreadable: Tensor
    """images that could not be decoded and were replaced by the sample after them"""


def derive_seed(*key: int) -> int:
    """A 63-bit seed that follows from non-negative integers; keys that differ anywhere give unrelated seeds."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


@lru_cache(maxsize=1)
def _permutation(num_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(num_samples)


def batch_samples(step: int, *, num_samples: int, batch_size: int, seed: int) -> tuple[int, NDArray[np.int64]]:
    """The epoch of a step and the samples of its global batch; no sample is twice in a batch.

    What an epoch leaves over (fewer samples than a batch) waits for another epoch's order.
    """
    steps_per_epoch = num_samples // batch_size
    epoch, position = divmod(step, steps_per_epoch)
    start = position * batch_size
    return epoch, _permutation(num_samples, seed, epoch)[start : start + batch_size]


class ShardReader:
    """Random access to the JPEGs inside a dataset's tars, by the byte offsets of its `samples.parquet`."""

    def __init__(self, dataset_dir: Path) -> None:
        """Read the index; shards are opened when first needed.

        Raises:
            FileNotFoundError: the folder has no dataset.json or samples.parquet.
        """
        for name in ("dataset.json", "samples.parquet"):
            if not (dataset_dir / name).is_file():
                raise FileNotFoundError(f"{dataset_dir} has no {name}, so it is no dataset; make one with `endoforge curate`")
        self.dataset_dir = dataset_dir
        self.dataset_id: str = json.loads((dataset_dir / "dataset.json").read_bytes())["dataset_id"]
        table = pq.read_table(dataset_dir / "samples.parquet", columns=["position", "shard", "byte_offset", "byte_size"]).sort_by(
            "position"
        )
        shards = table["shard"].combine_chunks().dictionary_encode()
        self._shard_names: list[str] = shards.dictionary.to_pylist()
        self._shards = shards.indices.to_numpy()
        self._offsets = table["byte_offset"].to_numpy()
        self._sizes = table["byte_size"].to_numpy()
        self._open: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._offsets)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_open": OrderedDict()}  # descriptors mean nothing in another process

    def read(self, sample: int) -> bytes:
        """The JPEG of a sample, as stored.

        Raises:
            FileNotFoundError: its shard is missing; the message names it and says what to do.
        """
        return os.pread(self._descriptor(int(self._shards[sample])), int(self._sizes[sample]), int(self._offsets[sample]))

    def describe(self, sample: int) -> str:
        """Where a sample is, for a person."""
        return f"{self._shard_names[int(self._shards[sample])]} at byte {self._offsets[sample]}"

    def _descriptor(self, shard: int) -> int:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        path = self.dataset_dir / self._shard_names[shard]
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"shard {path} is missing; copy it back, or see with `endoforge verify` what else is missing, then run this again"
            ) from None
        self._open[shard] = descriptor
        if len(self._open) > _MAX_OPEN_SHARDS:
            os.close(self._open.popitem(last=False)[1])
        return descriptor


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
        self._own = slice(rank * self.num_images, (rank + 1) * self.num_images)

    def __len__(self) -> int:
        return self.config.train.num_steps

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(1)  # processes are the parallelism here
        config, seed = self.config, self.config.train.seed
        epoch, samples = batch_samples(step, num_samples=len(self.reader), batch_size=config.train.batch_size, seed=seed)
        crops, unreadable = [], 0
        for sample in samples[self._own]:
            image, num_skipped = self._decode(int(sample))
            unreadable += num_skipped
            rng = np.random.default_rng([seed, epoch, int(sample)])
            crops.append(multi_crop(image, config.augment, global_size=config.model.img_size, rng=rng))
        masks = self._masks(step)
        return Batch(
            global_crops=torch.from_numpy(np.stack([global_crops for global_crops, _ in crops], axis=1)),
            local_crops=torch.from_numpy(np.stack([local_crops for _, local_crops in crops], axis=1)),
            masks=torch.from_numpy(masks),
            hidden=torch.from_numpy(np.flatnonzero(masks)),
            mask_weights=torch.from_numpy(mask_weights(masks)),
            kept_global=self._kept_rows(step, num_views=2),
            kept_local=self._kept_rows(step, num_views=config.augment.num_local),
            num_unreadable=torch.tensor(unreadable),
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

    def _decode(self, sample: int) -> tuple[NDArray[np.uint8], int]:
        """The image of a sample, or of the first readable one after it, and how many could not be read."""
        for num_skipped in range(len(self.reader)):
            candidate = (sample + num_skipped) % len(self.reader)
            data = self.reader.read(candidate)
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
            if image is not None:
                return image.astype(np.uint8, copy=False), num_skipped
            _log.warning("%s is no readable image; the sample after it stands in", self.reader.describe(candidate))
        raise ValueError(f"{self.reader.dataset_dir} has no readable image; check its shards against the hashes in dataset.json")


def open_loader(batches: StepBatches, *, first_step: int, pin_memory: bool) -> Iterator[Batch]:
    """Batches from `first_step` on, in order, made ahead by the configured number of processes."""
    num_workers = batches.config.train.num_loader_workers
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
