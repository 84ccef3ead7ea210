"""Weighted k-nearest-neighbour classification of frozen features (Wu et al. 2018; DINO; DINOv2 eval/knn)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from evaluation.heads.choice import validation_score
from evaluation.heads.head import Floats, HeadSettings, Ints, Labelled, VectorSets

__all__ = ["NearestNeighbours", "choose_k", "fit_knn", "knn_predict", "knn_votes", "load_knn"]

_FEATURES = "last"
_MAX_SIMILARITIES = 2**25
"""of one chunk of queries: 128 MB of float32"""


@dataclass(frozen=True, slots=True)
class NearestNeighbours:
    """The training images and the number of neighbours that was best on the validation split."""

    gallery: torch.Tensor
    """[N, D]"""
    labels: torch.Tensor
    """[N]"""
    tried: tuple[int, ...]
    chosen: int
    """position in `tried`"""
    temperature: float
    num_classes: int
    metric: str
    val_score: float

    @property
    def details(self) -> dict[str, str]:
        """What was chosen on the validation split."""
        return {
            "k": str(self.tried[self.chosen]),
            "temperature": str(self.temperature),
            f"val_{self.metric}": f"{self.val_score:.4f}",
        }

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor."""
        names = ("tried", "chosen", "temperature", "num_classes", "metric", "val_score")
        return {name: getattr(self, name) for name in names}

    def probabilities(self, features: VectorSets) -> Floats:
        """[N, C]: the votes of the k nearest, divided by their sum."""
        queries = torch.from_numpy(features[_FEATURES]).to(self.gallery.device)
        votes = knn_votes(self.gallery, self.labels, queries, k=self.tried, num_classes=self.num_classes, temperature=self.temperature)[
            self.chosen
        ]
        return np.asarray(votes / votes.sum(1, keepdims=True), np.float32)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The gallery and its classes."""
        return {"gallery": self.gallery.cpu().contiguous(), "labels": self.labels.cpu().contiguous()}


def fit_knn(train: Labelled, val: Labelled, settings: HeadSettings) -> NearestNeighbours:
    """Keep the training features; choose the number of neighbours on val."""
    config = settings.config
    gallery = torch.from_numpy(train.features[_FEATURES]).to(settings.device)
    labels = torch.from_numpy(train.labels).to(settings.device)
    queries = torch.from_numpy(val.features[_FEATURES]).to(settings.device)
    predictions = knn_predict(gallery, labels, queries, k=config.k, num_classes=settings.num_classes, temperature=config.temperature)
    chosen, score = choose_k(predictions, val.labels, k=config.k, num_classes=settings.num_classes, metric=settings.metric)
    # the softmax runs over the largest k of the list, so the whole list is kept
    return NearestNeighbours(gallery, labels, config.k, chosen, config.temperature, settings.num_classes, settings.metric, score)


def load_knn(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any], device: torch.device) -> NearestNeighbours:
    """As it was fitted."""
    known = {**state, "tried": tuple(state["tried"])}
    return NearestNeighbours(gallery=tensors["gallery"].to(device), labels=tensors["labels"].to(device), **known)


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

    The arguments are those of `knn_votes`.

    Returns:
        [len(k), Q] class indices; equal votes go to the lower class.
    """
    votes = knn_votes(gallery, gallery_labels, queries, k=k, num_classes=num_classes, temperature=temperature, chunk=chunk)
    return np.asarray(votes.argmax(-1), np.int64)


@torch.inference_mode()
def knn_votes(
    gallery: torch.Tensor,
    gallery_labels: torch.Tensor,
    queries: torch.Tensor,
    *,
    k: tuple[int, ...],
    num_classes: int,
    temperature: float = 0.07,
    chunk: int = 1024,
) -> Floats:
    """The votes of each query's k most similar gallery images for each class, for each k.

    A neighbour's vote is the softmax over the max(k) largest cosine similarities / temperature, cut to the first k.

    Args:
        gallery: [N, D] features; normalised here.
        gallery_labels: [N] class indices.
        queries: [Q, D] features.
        k: numbers of neighbours; those above N count as N.
        num_classes: C.
        temperature: of the softmax.
        chunk: queries compared at a time; fewer where the gallery is large.

    Returns:
        [len(k), Q, C].
    """
    gallery = F.normalize(gallery.float(), dim=1)
    largest = min(max(k), len(gallery))
    chunk = max(1, min(chunk, _MAX_SIMILARITIES // len(gallery)))
    votes = []
    for start in range(0, len(queries), chunk):
        part = F.normalize(queries[start : start + chunk].float(), dim=1)
        similarity, index = (part @ gallery.T).topk(largest, dim=1)
        one_hot = F.one_hot(gallery_labels[index], num_classes) * (similarity / temperature).softmax(1)[..., None]
        summed = one_hot.cumsum(1)  # [q, largest, C]: the votes of the first 1, 2, ... neighbours
        votes.append(torch.stack([summed[:, min(count, largest) - 1] for count in k]))
    return torch.cat(votes, dim=1).cpu().numpy()


def choose_k(predictions: Ints, labels: Ints, *, k: tuple[int, ...], num_classes: int, metric: str) -> tuple[int, float]:
    """Position in `k` of the best validation predictions [len(k), N], the first of equals, and their score."""
    scores = [validation_score(labels, row, num_classes=num_classes, metric=metric) for row in predictions]
    best = int(np.argmax(scores))
    return best, scores[best]
