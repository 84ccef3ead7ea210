"""Linear segmentation of frozen patch tokens: normalisation and one 1x1 convolution, upsampled (the DINOv2 and DINOv3 linear protocol)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from evaluation.heads.head import Floats, HeadSettings, Maps, MaskLabelled
from evaluation.heads.mask_training import BATCH, channel_statistics, joined, mask_loss, mean_dice, read_maps, upsampled

__all__ = ["SegmentationHead", "fit_linear_masks", "fit_segmentation_head", "load_linear_masks"]


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

    @property
    def details(self) -> dict[str, str]:
        """What was chosen on the validation split."""
        return {"learning_rate": f"{self.learning_rate:g}", "epoch": str(self.epoch), "val_dice": f"{self.val_dice:.4f}"}

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor."""
        return {"learning_rate": self.learning_rate, "epoch": self.epoch, "val_dice": self.val_dice}

    def logits(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """[B, D, h, w] maps to [B, 1, h, w] foreground logits."""
        return F.conv2d((joined(maps) - self.mean) * self.inverse_std, self.weight, self.bias)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Statistics, weights and bias."""
        return {name: getattr(self, name).detach().cpu().contiguous() for name in ("mean", "inverse_std", "weight", "bias")}


def load_linear_masks(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any], device: torch.device) -> SegmentationHead:
    """As it was fitted."""
    placed: dict[str, Any] = {name: tensor.to(device) for name, tensor in tensors.items()}
    return SegmentationHead(**placed, **state)


def fit_linear_masks(train: MaskLabelled, val: MaskLabelled, settings: HeadSettings) -> SegmentationHead:
    """`fit_segmentation_head` with the settings of an evaluation."""
    config = settings.config
    return fit_segmentation_head(
        train.maps,
        train.targets,
        val.maps,
        val.targets,
        learning_rates=config.segmentation_learning_rates,
        epochs=config.segmentation_epochs,
        seed=config.seed,
        device=settings.device,
    )


def fit_segmentation_head(
    train: Maps,
    train_targets: Floats,
    val: Maps,
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
        train: [N, D, h, w] patch tokens of one or more blocks, which are joined; may be memory maps.
        train_targets: [N, s, s] shares of foreground.
        val: [M, D, h, w] of the same blocks.
        val_targets: [M, s, s].
        learning_rates: of AdamW, with a cosine to 0.
        epochs: passes over train.
        seed: of initialisation and order.
        device: where to train.
    """
    ((mean, inverse_std),) = channel_statistics(train, device, combine=lambda maps: [joined(maps)])
    generator = torch.Generator().manual_seed(seed)
    dim, num_heads = len(mean), len(learning_rates)
    start = torch.randn(1, dim, 1, 1, generator=generator) * 0.01
    weights: list[torch.Tensor] = [torch.nn.Parameter(start.clone().to(device)) for _ in learning_rates]
    biases: list[torch.Tensor] = [torch.nn.Parameter(torch.zeros(1, device=device)) for _ in learning_rates]
    optimizer = torch.optim.AdamW(
        [{"params": [w, b], "lr": rate} for w, b, rate in zip(weights, biases, learning_rates, strict=True)], weight_decay=1e-3
    )
    steps = epochs * -(-len(train_targets) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best: SegmentationHead | None = None

    def logits(maps: list[torch.Tensor]) -> torch.Tensor:
        return F.conv2d((joined(maps) - mean) * inverse_std, torch.cat(weights), torch.cat(biases))

    for epoch in range(1, epochs + 1):
        for index in torch.split(torch.randperm(len(train_targets), generator=generator), BATCH):
            order = np.sort(index.numpy())  # ascending reads of the memory map
            target = torch.from_numpy(train_targets[order]).to(device)[:, None].expand(-1, num_heads, -1, -1)
            loss = mask_loss(upsampled(logits(read_maps(train, order, device)), target.shape[-1]), target)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
        scores = mean_dice(logits, val, val_targets, num_heads=num_heads, device=device)
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
