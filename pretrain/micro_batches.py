"""How a worker's part of a step is cut into micro-batches."""

from __future__ import annotations

import torch

from pretrain.config import PretrainConfig
from pretrain.data import Batch
from pretrain.flops import hidden_patches
from pretrain.masking import mask_weights

__all__ = ["is_chunked", "micro_batches"]

_MOST_LOGITS = 1 << 31  # of one worker's hidden patches; in bf16 this is 4 GB, of which a step holds three copies


def is_chunked(config: PretrainConfig, world_size: int) -> bool:
    """Whether a step makes logits in chunks: with accumulation, or where logits of hidden patches would be larger than 2**31 elements."""
    prototypes = (config.ibot_head or config.dino_head).num_prototypes
    num_logits = hidden_patches(config, config.train.batch_size // world_size) * prototypes
    return config.train.accumulate > 1 or num_logits > _MOST_LOGITS


def micro_batches(batch: Batch, count: int) -> list[Batch]:
    """Cut a worker's part of a step into parts of equally many consecutive images, their masks and dropped branches as they were."""
    num_images = batch.global_crops.shape[1]
    if count == 1:
        return [batch]
    size = num_images // count
    return [_images(batch, slice(start, start + size), num_images) for start in range(0, num_images, size)]


def _images(batch: Batch, own: slice, num_images: int) -> Batch:
    masks = batch.masks.view(2, num_images, -1)[:, own].flatten(0, 1)
    return Batch(
        global_crops=batch.global_crops[:, own],
        local_crops=batch.local_crops[:, own],
        masks=masks,
        hidden=masks.flatten().nonzero().squeeze(1),
        mask_weights=torch.from_numpy(mask_weights(masks.numpy())),
        kept_global=batch.kept_global and batch.kept_global.of_images(own, num_images),
        kept_local=batch.kept_local and batch.kept_local.of_images(own, num_images),
        unreadable_shards=batch.unreadable_shards,
        moments=None if batch.moments is None else batch.moments[own],
    )
