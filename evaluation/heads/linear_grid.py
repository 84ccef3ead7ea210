"""DINOv2's linear evaluation: 52 linear classifiers on frozen features, trained at once by SGD and chosen on the validation split.

As in the reference: four feature sets (CLS of the last or the last four blocks, with or without the mean patch token of the last) times 13
learning rates, momentum 0.9, no weight decay, a cosine to 0, batches of 128, weights drawn with standard deviation 0.01. Other than there:
features are scaled to mean 0 and variance 1 over the training images, because those of a CNN are of any size; images are not augmented,
because features are computed once; classes can be weighted alike; and the choice made on val is reported on test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from evaluation.heads.choice import validation_score
from evaluation.heads.head import HeadSettings, Ints, Labelled, VectorSets
from evaluation.heads.linear import LinearProbe, Scaler, fit_scaler

__all__ = ["LEARNING_RATES", "class_weights", "fit_grid", "fit_linear_grid", "train_grid"]

LEARNING_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
"""of a batch of 256; multiplied by batch / 256"""

_BATCH = 128
_MOMENTUM = 0.9
_INITIAL_STD = 0.01


@dataclass(frozen=True, slots=True)
class GridWeights:
    """All classifiers of one feature set."""

    scaler: Scaler
    weight: torch.Tensor
    """[R, C, D], one classifier a learning rate"""
    bias: torch.Tensor
    """[R, C]"""


def fit_grid(train: Labelled, val: Labelled, settings: HeadSettings) -> LinearProbe:
    """`fit_linear_grid` with the settings of an evaluation."""
    config = settings.config
    return fit_linear_grid(
        train.features,
        train.labels,
        val.features,
        val.labels,
        num_classes=settings.num_classes,
        metric=settings.metric,
        balanced=config.class_weight == "balanced",
        steps=config.grid_steps,
        seed=config.seed,
        device=settings.device,
    )


def fit_linear_grid(
    train: VectorSets,
    train_labels: Ints,
    val: VectorSets,
    val_labels: Ints,
    *,
    num_classes: int,
    metric: str,
    balanced: bool,
    steps: int,
    seed: int,
    device: torch.device,
    learning_rates: tuple[float, ...] = LEARNING_RATES,
) -> LinearProbe:
    """Train every feature set x learning rate together; keep the best on val, the first of equals.

    Args:
        train: feature sets by name, [N, D] each.
        train_labels: [N] class indices.
        val: the same feature sets of the validation split.
        val_labels: [M] class indices.
        num_classes: C.
        metric: name in CLASSIFICATION_METRICS that decides.
        balanced: weigh classes by their inverse frequency.
        steps: of SGD, with a batch of 128 images each.
        seed: of weights and order.
        device: where to train.
        learning_rates: of a batch of 256.
    """
    found = train_grid(
        train,
        train_labels,
        num_classes=num_classes,
        balanced=balanced,
        steps=steps,
        seed=seed,
        device=device,
        learning_rates=learning_rates,
    )
    num_tried = len(found) * len(learning_rates)
    best: LinearProbe | None = None
    for name, grid in found.items():
        for number, rate in enumerate(learning_rates):
            weight, bias = grid.weight[number].cpu().numpy(), grid.bias[number].cpu().numpy()
            probe = LinearProbe(name, 0.0, -1.0, num_tried, grid.scaler, weight, bias, {})
            score = validation_score(val_labels, probe.predict(val), num_classes=num_classes, metric=metric)
            if best is None or score > best.val_score:
                details = {"features": name, "learning_rate": f"{rate:g}", "heads_tried": str(num_tried), f"val_{metric}": f"{score:.4f}"}
                best = LinearProbe(name, 0.0, score, num_tried, grid.scaler, weight, bias, details)
    assert best is not None, "the grid is empty"
    return best


@torch.inference_mode()
def train_grid(
    features: VectorSets,
    labels: Ints,
    *,
    num_classes: int,
    balanced: bool,
    steps: int,
    seed: int,
    device: torch.device,
    learning_rates: tuple[float, ...] = LEARNING_RATES,
) -> dict[str, GridWeights]:
    """The trained classifiers of each feature set.

    The gradient of a softmax cross-entropy is (probabilities - one hot) x features, so all rates of a feature set share one matrix product
    forward and one back, and no graph is kept. Classifiers do not see each other: each is as if it were trained alone.
    """
    num_images, num_rates = len(labels), len(learning_rates)
    batch = min(_BATCH, num_images)
    scalers = {name: fit_scaler(values) for name, values in features.items()}
    inputs = {name: torch.from_numpy(scalers[name](values)).to(device) for name, values in features.items()}
    weights = {name: _initial(name, num_classes, values.shape[1], num_rates, seed).to(device) for name, values in inputs.items()}
    biases = {name: torch.zeros(num_rates * num_classes, device=device) for name in inputs}
    momenta = {name: (torch.zeros_like(weights[name]), torch.zeros_like(biases[name])) for name in inputs}
    rates = (torch.tensor(learning_rates, dtype=torch.float32, device=device) * batch / 256).repeat_interleave(num_classes)
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels).to(device), num_classes).float().T.contiguous()
    emphasis = torch.from_numpy(class_weights(labels, num_classes) if balanced else np.ones(num_images, np.float32)).to(device)
    order = _Order(num_images, batch, seed)
    for step in range(steps):
        index = order.next().to(device)
        target, weight_of = one_hot.index_select(1, index), emphasis.index_select(0, index) / batch
        rate = rates * (0.5 * (1 + math.cos(math.pi * step / steps)))
        for name, values in inputs.items():
            seen = values.index_select(0, index)
            logits = torch.addmm(biases[name][:, None], weights[name], seen.T).view(num_rates, num_classes, batch)
            error = logits.softmax(1).sub_(target).mul_(weight_of).view(-1, batch)
            weight_momentum, bias_momentum = momenta[name]
            weight_momentum.addmm_(error, seen, beta=_MOMENTUM)
            bias_momentum.mul_(_MOMENTUM).add_(error.sum(1))
            weights[name].addcmul_(rate[:, None], weight_momentum, value=-1)
            biases[name].addcmul_(rate, bias_momentum, value=-1)
    return {
        name: GridWeights(scalers[name], weights[name].view(num_rates, num_classes, -1), biases[name].view(num_rates, num_classes))
        for name in inputs
    }


class _Order:
    """Batches of image numbers: one permutation after another, cut without regard to their ends."""

    def __init__(self, num_images: int, batch: int, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._waiting = torch.empty(0, dtype=torch.int64)
        self._num_images, self._batch = num_images, batch

    def next(self) -> torch.Tensor:
        """[batch] image numbers."""
        while len(self._waiting) < self._batch:
            self._waiting = torch.cat([self._waiting, torch.randperm(self._num_images, generator=self._generator)])
        drawn, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        return drawn


def _initial(name: str, num_classes: int, dim: int, num_rates: int, seed: int) -> torch.Tensor:
    """[R * C, D]: equal weights for every rate, so that rates differ in nothing else."""
    generator = torch.Generator().manual_seed(seed + sum(name.encode()))
    return (torch.randn(num_classes, dim, generator=generator) * _INITIAL_STD).repeat(num_rates, 1)


def class_weights(labels: Ints, num_classes: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """[N] weights of mean 1 by which every class that occurs counts alike."""
    counts = np.bincount(labels, minlength=num_classes)
    present = np.count_nonzero(counts)
    return (len(labels) / (present * counts[labels])).astype(np.float32)
