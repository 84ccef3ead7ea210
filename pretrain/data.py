"""Reading a dataset's shards so that any step of any run can be read again: a step's batch follows from the step.

The order follows from (seed, epoch), see pretrain/order.py and, for shards read one after another, pretrain/windows.py. Step t takes the
t-th slice of the global batch size, of which each worker takes its part. Crops are drawn per sample, masks and dropped branches for the
whole global batch. So neither a restart nor another number of workers changes what a step sees. There is no loader state to save.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from pretrain.augment import CropDraw, cut
from pretrain.config import PretrainConfig
from pretrain.dealing import Place, SampleBatches
from pretrain.decode import decoded_image
from pretrain.device_crops import Images, crops_on_device, pack_images
from pretrain.drop_path import KeptRows, draw_kept_rows
from pretrain.masking import batch_masks, mask_weights
from pretrain.model import num_blocks
from pretrain.reader import ShardReader
from pretrain.shard_files import UnreadableError
from pretrain.step_samples import batch_samples

__all__ = ["Batch", "ShardReader", "StepBatches", "batch_samples", "derive_seed", "open_loader", "with_crops"]

_MASKS, _KEPT_ROWS = 1, 2  # keep draws apart that share seed and step

Drawn = tuple[NDArray[np.uint8], list[CropDraw]]
"""An image and what is drawn for its crops."""


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
    images: Images | None = None
    """decoded images of which the device makes the crops; the two above have sides of 0 until then"""

    @property
    def num_unreadable(self) -> Tensor:
        """Images for which another stands in."""
        return torch.tensor(len(self.unreadable_shards))


def derive_seed(*key: int) -> int:
    """A 63-bit seed that follows from non-negative integers; keys that differ anywhere give unrelated seeds."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


class StepBatches(SampleBatches[Batch, Drawn]):
    """One worker's batches of images, indexed by step."""

    def __init__(self, reader: ShardReader, config: PretrainConfig, *, rank: int, world_size: int, decode_only: bool = False) -> None:
        """Check that the batch can be dealt out; arguments are those of `SampleBatches`.

        Args:
            reader: of the dataset.
            config: of the run.
            rank: of this worker.
            world_size: workers in all.
            decode_only: the batches have images, of which `with_crops` makes the crops.
        """
        super().__init__(reader, config, rank=rank, world_size=world_size)
        self._decode_only = decode_only

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(1)  # processes are the parallelism here
        config = self.config
        images: list[Drawn] = []
        crops: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        shown, unreadable = [], []
        for sample, found, shard in self.samples(step):
            if self._decode_only:
                images.append(found)
            else:  # at once, for decoded images are larger
                crops.append(cut(*found, config.augment, global_size=config.model.img_size))
            shown.append(sample)
            unreadable += [] if shard is None else [shard]
        masks = self._masks(step)
        if self._decode_only:
            global_crops, local_crops = (torch.empty((views, len(images), 0, 0, 3), dtype=torch.uint8) for views in self._views)
        else:
            global_crops, local_crops = (torch.from_numpy(np.stack(kind, axis=1)) for kind in zip(*crops, strict=True))
        return Batch(
            global_crops=global_crops,
            local_crops=local_crops,
            masks=torch.from_numpy(masks),
            hidden=torch.from_numpy(np.flatnonzero(masks)),
            mask_weights=torch.from_numpy(mask_weights(masks)),
            kept_global=self._kept_rows(step, num_views=self._views[0]),
            kept_local=self._kept_rows(step, num_views=self._views[1]),
            unreadable_shards=torch.tensor(unreadable, dtype=torch.int64),
            moments=self.moments_of(shown),
            images=pack_images(images, config) if self._decode_only else None,
        )

    @property
    def _views(self) -> tuple[int, int]:
        """Global and local crops of an image."""
        return 2, self.config.augment.num_local

    def _masks(self, step: int) -> NDArray[np.bool_]:
        """This worker's part of the masks of the whole batch, (2 * images, patches)."""
        config = self.config
        rng = random.Random(derive_seed(config.train.seed, step, _MASKS))
        masks = batch_masks(2 * config.train.batch_size, config.model.img_size // config.model.patch_size, config.mask, rng=rng)
        return masks.reshape(2, config.train.batch_size, -1)[:, self.own].reshape(2 * self.num_images, -1)

    def _kept_rows(self, step: int, *, num_views: int) -> KeptRows | None:
        """Rows on which residual branches run, for crops of which each image has `num_views`; None for all rows."""
        model, train = self.config.model, self.config.train
        if not model.drop_path_rate or not num_views:
            return None
        rng = np.random.default_rng([train.seed, step, _KEPT_ROWS, num_views])
        return draw_kept_rows(
            self.own,
            batch_size=train.batch_size,
            num_views=num_views,
            depth=num_blocks(model),
            rate=model.drop_path_rate,
            rng=rng,
        )

    def load(self, sample: int, place: Place) -> Drawn | None:
        """A sample's image and what is drawn for its crops; None if it cannot be read."""
        try:
            data = self.reader.read(sample)
        except UnreadableError:
            return None
        rng = np.random.default_rng((place.seed, place.epoch, place.sample))
        return decoded_image(data, self.config.augment, global_size=self.config.model.img_size, rng=rng)


def with_crops(batch: Batch, config: PretrainConfig, device: torch.device) -> Batch:
    """The batch with its crops, made on the device if it has images in their place."""
    if batch.images is None:
        return batch
    global_crops, local_crops = crops_on_device(batch.images, config, device)
    return batch._replace(global_crops=global_crops, local_crops=local_crops, images=None)


def open_loader(batches: SampleBatches[Any, Any], *, first_step: int, pin_memory: bool) -> Iterator[Any]:
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
