"""Linear segmentation of frozen patch tokens: normalisation and one 1x1 convolution, upsampled (the DINOv2 and DINOv3 linear protocol)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from evaluation.images import mask_pixels
from evaluation.metrics import dice, iou
from evaluation.tasks import Item

__all__ = ["SegmentationHead", "fit_segmentation_head", "score_masks", "target_masks"]

Tokens = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]

_BATCH = 16
_SMOOTH = 1.0


@dataclass(frozen=True, slots=True)
class SegmentationHead:
    """The head, learning rate and epoch that were best on the validation split."""

    mean: torch.Tensor
    """[D, 1, 1] of the training tokens"""
    inverse_std: torch.Tensor
    weight: torch.Tensor
    """[1, D, 1, 1]"""
    bias: torch.Tensor
    """[1]"""
    learning_rate: float
    epoch: int
    val_dice: float

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """[B, D, h, w] tokens to [B, 1, h, w] foreground logits."""
        return F.conv2d((tokens - self.mean) * self.inverse_std, self.weight, self.bias)


def target_masks(items: Sequence[Item], *, size: int) -> Floats:
    """Masks of items as [N, size, size] shares of foreground in [0, 1], averaged over the pixels under each cell."""
    targets = np.empty((len(items), size, size), dtype=np.float32)
    for i, item in enumerate(items):
        mask = torch.from_numpy(mask_pixels(item)).float()[None, None]
        targets[i] = F.interpolate(mask, (size, size), mode="area")[0, 0].numpy()
    return targets


def fit_segmentation_head(
    train: Tokens,
    train_targets: Floats,
    val: Tokens,
    val_targets: Floats,
    *,
    learning_rates: tuple[float, ...],
    epochs: int,
    seed: int,
    device: torch.device,
) -> SegmentationHead:
    """Train one head per learning rate, all at once, with cross-entropy + soft Dice; keep the head and epoch with the best mean val Dice.

    The features do not move, so batch normalisation is their standardisation by the training tokens' mean and variance.

    Args:
        train: [N, D, h, w] patch tokens; may be a memory map.
        train_targets: [N, s, s] shares of foreground.
        val: [M, D, h, w].
        val_targets: [M, s, s].
        learning_rates: of AdamW, with a cosine to 0.
        epochs: passes over train.
        seed: of initialisation and order.
        device: where to train.
    """
    mean, inverse_std = _token_statistics(train, device)
    generator = torch.Generator().manual_seed(seed)
    dim, num_heads = train.shape[1], len(learning_rates)
    start = torch.randn(1, dim, 1, 1, generator=generator) * 0.01
    weights: list[torch.Tensor] = [torch.nn.Parameter(start.clone().to(device)) for _ in learning_rates]
    biases: list[torch.Tensor] = [torch.nn.Parameter(torch.zeros(1, device=device)) for _ in learning_rates]
    optimizer = torch.optim.AdamW(
        [{"params": [w, b], "lr": rate} for w, b, rate in zip(weights, biases, learning_rates, strict=True)], weight_decay=1e-3
    )
    steps = epochs * -(-len(train) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best: SegmentationHead | None = None
    for epoch in range(1, epochs + 1):
        for index in torch.split(torch.randperm(len(train), generator=generator), _BATCH):
            order = np.sort(index.numpy())  # ascending reads of the memory map
            tokens = (_tensor(train[order], device) - mean) * inverse_std
            target = torch.from_numpy(train_targets[order]).to(device)[:, None].expand(-1, num_heads, -1, -1)
            logits = _upsampled(F.conv2d(tokens, torch.cat(weights), torch.cat(biases)), target.shape[-1])
            loss = _loss(logits, target)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        scores = _val_dice(val, val_targets, mean, inverse_std, torch.cat(weights), torch.cat(biases), device)
        head = int(scores.argmax())
        if best is None or scores[head] > best.val_dice:
            best = SegmentationHead(
                mean,
                inverse_std,
                weights[head].detach().clone(),
                biases[head].detach().clone(),
                learning_rates[head],
                epoch,
                float(scores[head]),
            )
    assert best is not None, "epochs is at least 1"
    return best


@torch.inference_mode()
def score_masks(
    head: SegmentationHead, tokens: Tokens, items: Sequence[Item], *, device: torch.device
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Dice and IoU of every image, [N] each, at its mask's native size with the logits upsampled to it and cut at 0."""
    dices, ious = np.empty(len(items)), np.empty(len(items))
    for i, item in enumerate(items):
        mask = mask_pixels(item)
        logits = head.logits(_tensor(tokens[i : i + 1], device))
        predicted = (F.interpolate(logits, mask.shape, mode="bilinear", align_corners=False)[0, 0] > 0).cpu().numpy()
        dices[i], ious[i] = dice(predicted, mask), iou(predicted, mask)
    return dices, ious


def _loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy + soft Dice of [B, H, h, w], summed over heads H: each head's gradient is as if it trained alone."""
    probabilities = logits.sigmoid()
    overlap, sizes = (probabilities * target).sum((2, 3)), probabilities.sum((2, 3)) + target.sum((2, 3))
    soft_dice = (2 * overlap + _SMOOTH) / (sizes + _SMOOTH)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((2, 3))
    return (entropy + 1 - soft_dice).mean(0).sum()


@torch.inference_mode()
def _val_dice(
    tokens: Tokens,
    targets: Floats,
    mean: torch.Tensor,
    inverse_std: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    device: torch.device,
) -> torch.Tensor:
    """Mean Dice over images at the targets' size, [heads]; 1 for an image where both are empty."""
    total = torch.zeros(len(weight), device=device)
    for start in range(0, len(tokens), 64):
        batch = (_tensor(tokens[start : start + 64], device) - mean) * inverse_std
        predicted = _upsampled(F.conv2d(batch, weight, bias), targets.shape[-1]) > 0
        truth = (torch.from_numpy(targets[start : start + 64]).to(device) > 0.5)[:, None]
        sizes = predicted.sum((2, 3)) + truth.sum((2, 3))
        overlap = (predicted & truth).sum((2, 3))
        total += torch.where(sizes > 0, 2 * overlap / sizes.clamp(min=1), 1.0).sum(0)
    return total / len(tokens)


def _token_statistics(tokens: Tokens, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and 1 / standard deviation of each channel, [D, 1, 1], over all training tokens in one pass."""
    count, total, squares = 0, torch.zeros(1, device=device, dtype=torch.float64), torch.zeros(1, device=device, dtype=torch.float64)
    for start in range(0, len(tokens), 64):
        batch = _tensor(tokens[start : start + 64], device).double()
        count += batch.shape[0] * batch.shape[2] * batch.shape[3]
        total, squares = total + batch.sum((0, 2, 3)), squares + (batch * batch).sum((0, 2, 3))
    mean = total / count
    variance = (squares / count - mean * mean).clamp(min=0)
    return mean.float()[:, None, None], (variance + 1e-5).rsqrt().float()[:, None, None]


def _tensor(tokens: Tokens, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(tokens)).to(device).float()


def _upsampled(logits: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
