"""Block masks of patches, as in BEiT (Bao et al. 2021) with DINOv2's spread of ratios over a batch."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pretrain.config import MaskConfig

__all__ = ["batch_masks", "block_mask", "mask_weights"]

_TRIES_PER_BLOCK = 10


def block_mask(
    height: int,
    width: int,
    num_masked: int,
    *,
    rng: random.Random,
    max_block: float,
    min_block: int = 4,
    min_aspect: float = 0.3,
) -> NDArray[np.bool_]:
    """Hide about `num_masked` patches of a grid in rectangular blocks, never more.

    Args:
        height: of the grid in patches.
        width: of the grid in patches.
        num_masked: patches to hide; a few fewer where no further block fits.
        rng: source of every draw.
        max_block: greatest area of one block in patches.
        min_block: least area of one block in patches, where so many are left to hide.
        min_aspect: least ratio of height to width; the greatest is its inverse.

    Returns:
        (height, width), true where hidden.
    """
    mask = np.zeros((height, width), dtype=bool)
    remaining = num_masked
    while remaining > 0:
        added = _add_block(mask, min(remaining, max_block), rng, min_block, min_aspect)
        if added == 0:
            break
        remaining -= added
    return mask


def _add_block(mask: NDArray[np.bool_], max_new: float, rng: random.Random, min_block: int, min_aspect: float) -> int:
    """Hide one more rectangle that adds between one and `max_new` patches; the number added, 0 where every try failed."""
    height, width = mask.shape
    for _ in range(_TRIES_PER_BLOCK):
        area = rng.uniform(min_block, max_new)
        aspect = math.exp(rng.uniform(math.log(min_aspect), math.log(1 / min_aspect)))
        block_height, block_width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if not (block_width < width and block_height < height):
            continue
        top, left = rng.randint(0, height - block_height), rng.randint(0, width - block_width)
        block = mask[top : top + block_height, left : left + block_width]
        added = block.size - int(block.sum())
        if 0 < added <= max_new:
            block[:] = True
            return added
    return 0


def batch_masks(num_crops: int, grid_size: int, config: MaskConfig, *, rng: random.Random) -> NDArray[np.bool_]:
    """Mask a share of the crops, each with a ratio from its own slice of the range, in shuffled order.

    Args:
        num_crops: global crops of the batch.
        grid_size: patches along one side of a crop.
        config: share of crops and range of ratios.
        rng: source of every draw.

    Returns:
        (crops, patches), true where hidden.
    """
    num_patches = grid_size * grid_size
    num_chosen = int(num_crops * config.probability)
    edges = np.linspace(*config.ratio, num_chosen + 1, dtype=np.float32)

    def masked(num_masked: int) -> NDArray[np.bool_]:
        return block_mask(
            grid_size,
            grid_size,
            num_masked,
            rng=rng,
            max_block=0.5 * num_patches,
            min_block=config.min_block,
            min_aspect=config.min_aspect,
        ).ravel()

    masks = [masked(int(num_patches * rng.uniform(low, high))) for low, high in pairwise(edges)]
    masks += [np.zeros(num_patches, dtype=bool)] * (num_crops - num_chosen)
    rng.shuffle(masks)
    return np.stack(masks)


def mask_weights(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Weight of each hidden patch in row-major order: one over the number hidden in its crop.

    Args:
        masks: (crops, patches), true where hidden.

    Returns:
        (hidden patches,); the weights of a crop sum to one.
    """
    num_hidden = masks.sum(axis=1)
    return np.repeat(1 / num_hidden.clip(min=1).astype(np.float32), num_hidden)
