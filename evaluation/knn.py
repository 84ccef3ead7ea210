"""Weighted k-nearest-neighbour classification of frozen features (Wu et al. 2018; DINO; DINOv2 eval/knn)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from evaluation.metrics import CLASSIFICATION_METRICS, confusion_matrices

__all__ = ["choose_k", "knn_predict"]


@torch.inference_mode()
def knn_predict(
    gallery: torch.Tensor,
    gallery_labels: torch.Tensor,
    queries: torch.Tensor,
    *,
    k: tuple[int, ...],
    num_classes: int,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> npt.NDArray[np.int64]:
    """The class of each query by the votes of its k most similar gallery images, for each k.

    A neighbour's vote is the softmax over the max(k) largest cosine similarities / temperature, cut to the first k.

    Args:
        gallery: [N, D] features; normalised here.
        gallery_labels: [N] class indices.
        queries: [Q, D] features.
        k: numbers of neighbours; those above N count as N.
        num_classes: C.
        temperature: of the softmax.
        chunk: queries compared at a time.

    Returns:
        [len(k), Q] class indices; equal votes go to the lower class.
    """
    gallery = F.normalize(gallery.float(), dim=1)
    largest = min(max(k), len(gallery))
    predictions = []
    for start in range(0, len(queries), chunk):
        part = F.normalize(queries[start : start + chunk].float(), dim=1)
        similarity, index = (part @ gallery.T).topk(largest, dim=1)
        votes = F.one_hot(gallery_labels[index], num_classes) * (similarity / temperature).softmax(1)[..., None]
        summed = votes.cumsum(1)  # [q, largest, C]: the votes of the first 1, 2, ... neighbours
        predictions.append(torch.stack([summed[:, min(count, largest) - 1].argmax(1) for count in k]))
    return torch.cat(predictions, dim=1).cpu().numpy().astype(np.int64)


def choose_k(
    predictions: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], *, k: tuple[int, ...], num_classes: int, metric: str
) -> tuple[int, float]:
    """Position in `k` of the best validation predictions [len(k), N], the first of equals, and their score."""
    one_group = np.zeros(len(labels), dtype=np.int64)
    scores = []
    for row in predictions:
        confusion = confusion_matrices(labels, row, one_group, num_classes=num_classes)[0]
        scores.append(float(np.nan_to_num(CLASSIFICATION_METRICS[metric](confusion), nan=-1.0)))
    best = int(np.argmax(scores))
    return best, scores[best]
