"""Masks as targets of training, and predicted masks beside the true ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from evaluation.clinical_rows import CLINICAL_MASK_METRICS
from evaluation.heads import FittedMasks, Maps
from evaluation.images import mask_pixels
from evaluation.metrics import dice, iou
from evaluation.tasks import Item

__all__ = ["MASK_METRICS", "View", "image_scores", "predicted_masks", "score_masks", "target_masks"]

MASK_METRICS = {"dice": dice, "iou": iou}
"""Metrics of one image's predicted and true mask, whose mean over images is the score."""

View = tuple[Iterable[Maps], bool]
"""Maps of all items in batches, and whether they are of mirror images."""


def target_masks(items: Sequence[Item], *, size: int) -> npt.NDArray[np.float32]:
    """Masks of items as [N, size, size] shares of foreground in [0, 1], averaged over the pixels under each cell."""
    targets = np.empty((len(items), size, size), dtype=np.float32)
    for i, item in enumerate(items):
        mask = torch.from_numpy(mask_pixels(item)).float()[None, None]
        targets[i] = F.interpolate(mask, (size, size), mode="area")[0, 0].numpy()
    return targets


@torch.inference_mode()
def predicted_masks(
    head: FittedMasks, views: Sequence[View], sizes: Iterable[tuple[int, int]], *, device: torch.device
) -> Iterator[npt.NDArray[np.bool_]]:
    """The mask of every item, [H, W], at the sizes asked for.

    One view's logits are upsampled and cut at 0. The probabilities of several views are upsampled, averaged and cut at 0.5.
    """
    streams = [_logits(head, batches, is_mirrored=is_mirrored, device=device) for batches, is_mirrored in views]
    for size, *found in zip(sizes, *streams, strict=True):
        placed = [F.interpolate(logits, size, mode="bilinear", align_corners=False)[0, 0] for logits in found]
        mask = placed[0] > 0 if len(placed) == 1 else torch.stack([logits.sigmoid() for logits in placed]).mean(0) > 0.5
        yield mask.cpu().numpy()


def image_scores(
    predicted: Iterable[npt.NDArray[np.bool_]], items: Sequence[Item], *, clinical: bool = False
) -> tuple[dict[str, npt.NDArray[np.float64]], list[npt.NDArray[np.bool_]]]:
    """Each metric of every image, [N], at its mask's native size, the clinical ones too if asked; and the predicted masks."""
    metrics = {**MASK_METRICS, **(CLINICAL_MASK_METRICS if clinical else {})}
    values = {name: np.empty(len(items)) for name in metrics}
    kept = []
    for number, (mask, item) in enumerate(zip(predicted, items, strict=True)):
        truth = mask_pixels(item)
        for name, metric in metrics.items():
            values[name][number] = metric(mask, truth)
        kept.append(mask)
    return values, kept


def score_masks(
    head: FittedMasks, maps: Maps, items: Sequence[Item], *, device: torch.device
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Dice and IoU of every image, [N] each, at its mask's native size with the logits upsampled to it and cut at 0."""
    sizes = (mask_pixels(item).shape for item in items)
    predicted = predicted_masks(head, [([maps], False)], ((height, width) for height, width in sizes), device=device)
    values, _ = image_scores(predicted, items)
    return values["dice"], values["iou"]


def _logits(head: FittedMasks, batches: Iterable[Maps], *, is_mirrored: bool, device: torch.device) -> Iterator[torch.Tensor]:
    """[1, 1, h, w] of one item after another."""
    for maps in batches:
        for number in range(len(maps[0])):
            one = [torch.from_numpy(np.array(level[number : number + 1])).to(device).float() for level in maps]
            logits = head.logits(one)
            yield logits.flip(3) if is_mirrored else logits
