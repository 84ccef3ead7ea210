"""What all mask heads share: reading maps, scaling their channels, the loss, and Dice on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from evaluation.heads.head import Floats, Maps

__all__ = ["BATCH", "channel_statistics", "dice_sum", "joined", "mask_loss", "mean_dice", "read_maps", "upsampled"]

BATCH = 16
"""images per step"""

_SMOOTH = 1.0
_CHUNK = 64


def read_maps(maps: Maps, index: slice | np.ndarray[tuple[int], np.dtype[np.int64]], device: torch.device) -> list[torch.Tensor]:
    """Some images' maps, [B, D, h, w] float32 each; an ascending index reads a memory map in order."""
    return [torch.from_numpy(np.array(level[index])).to(device).float() for level in maps]


def joined(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Maps as one [B, sum of D, h, w] on the grid of the last but one; finer ones are averaged per cell, coarser ones interpolated."""
    if len(maps) == 1:
        return maps[0]
    height, width = maps[-2].shape[2:]
    placed = []
    for level in maps:
        if level.shape[2] > height:
            level = F.adaptive_avg_pool2d(level, (height, width))
        elif level.shape[2] < height:
            level = F.interpolate(level, (height, width), mode="bilinear", align_corners=False)
        placed.append(level)
    return torch.cat(placed, 1)


def channel_statistics(
    maps: Maps, device: torch.device, *, combine: Callable[[list[torch.Tensor]], list[torch.Tensor]]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Mean and 1 / standard deviation of each channel, [D, 1, 1] each, over all training maps in one pass; for each map of `combine`."""
    counts: list[int] = []
    totals: list[torch.Tensor] = []
    squares: list[torch.Tensor] = []
    for start in range(0, len(maps[0]), _CHUNK):
        for number, level in enumerate(combine(read_maps(maps, slice(start, start + _CHUNK), device))):
            level = level.double()
            if start == 0:
                counts.append(0)
                totals.append(torch.zeros(level.shape[1], device=device, dtype=torch.float64))
                squares.append(torch.zeros(level.shape[1], device=device, dtype=torch.float64))
            counts[number] += level.shape[0] * level.shape[2] * level.shape[3]
            totals[number] += level.sum((0, 2, 3))
            squares[number] += (level * level).sum((0, 2, 3))
    found = []
    for count, total, square in zip(counts, totals, squares, strict=True):
        mean = total / count
        variance = (square / count - mean * mean).clamp(min=0)
        found.append((mean.float()[:, None, None], (variance + 1e-5).rsqrt().float()[:, None, None]))
    return found


def mask_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy + soft Dice of [B, H, h, w], summed over heads H: each head's gradient is as if it trained alone."""
    probabilities = logits.sigmoid()
    overlap, sizes = (probabilities * target).sum((2, 3)), probabilities.sum((2, 3)) + target.sum((2, 3))
    soft_dice = (2 * overlap + _SMOOTH) / (sizes + _SMOOTH)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((2, 3))
    return (entropy + 1 - soft_dice).mean(0).sum()


@torch.inference_mode()
def mean_dice(
    logits: Callable[[list[torch.Tensor]], torch.Tensor], maps: Maps, targets: Floats, *, num_heads: int, device: torch.device
) -> torch.Tensor:
    """Mean Dice over images at the targets' size, [heads]; 1 for an image where both are empty.

    Args:
        logits: of a batch's maps, [B, heads, h, w].
        maps: of all images.
        targets: [N, s, s] shares of foreground; more than half is foreground.
        num_heads: of `logits`.
        device: where to compute.
    """
    total = torch.zeros(num_heads, device=device)
    for start in range(0, len(targets), _CHUNK):
        rows = slice(start, start + _CHUNK)
        total += dice_sum(logits(read_maps(maps, rows, device)), torch.from_numpy(targets[rows]).to(device))
    return total / len(targets)


def dice_sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Dice of logits [B, heads, h, w] beside targets [B, s, s], summed over images, [heads]; 1 for an image where both are empty."""
    predicted = upsampled(logits, targets.shape[-1]) > 0
    truth = (targets > 0.5)[:, None]
    sizes = predicted.sum((2, 3)) + truth.sum((2, 3))
    overlap = (predicted & truth).sum((2, 3))
    return torch.where(sizes > 0, 2 * overlap / sizes.clamp(min=1), 1.0).sum(0)


def upsampled(logits: torch.Tensor, size: int) -> torch.Tensor:
    """[B, H, h, w] on a grid of `size` x `size`."""
    return F.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
