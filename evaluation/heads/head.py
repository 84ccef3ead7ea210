"""What a head is: one record, whose `fit` takes the training and the validation split. No type here can hold a test split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from evaluation.config import EvaluateConfig

__all__ = [
    "FittedClasses",
    "FittedMasks",
    "Floats",
    "Head",
    "HeadSettings",
    "Ints",
    "Labelled",
    "Maps",
    "MapsWanted",
    "MaskLabelled",
    "Pictures",
    "SelectionSplit",
    "Storable",
    "Trunk",
    "VectorSets",
]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

VectorSets = Mapping[str, Floats]
"""Feature sets by name, [N, D] each."""

Maps = tuple[npt.NDArray[np.float16], ...]
"""Patch-token maps of one or more blocks or stages, [N, D, h, w] each; memory maps as a rule."""

SelectionSplit = Literal["train", "val"]
"""The splits that a head may be fitted on or chosen by."""

MapLayout = Literal["tokens", "joined", "last", "spaced"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Features and classes of the training or the validation split."""

    split: SelectionSplit
    features: VectorSets
    labels: Ints
    """[N] class indices"""

    def __post_init__(self) -> None:
        """Refuses a test split, and sets of unequal length."""
        _check(self.split, [len(values) for values in self.features.values()], len(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index: Ints) -> Labelled:
        """The images at `index`, in that order."""
        return Labelled(self.split, {name: values[index] for name, values in self.features.items()}, self.labels[index])


@dataclass(frozen=True, slots=True)
class MaskLabelled:
    """Patch-token maps and masks of the training or the validation split."""

    split: SelectionSplit
    maps: Maps
    targets: Floats
    """[N, s, s] shares of foreground in [0, 1]"""

    def __post_init__(self) -> None:
        """Refuses a test split, and maps of unequal length."""
        _check(self.split, [len(level) for level in self.maps], len(self.targets))

    def __len__(self) -> int:
        return len(self.targets)

    def subset(self, index: Ints) -> MaskLabelled:
        """The images at `index`, in that order, in memory."""
        return MaskLabelled(self.split, tuple(np.asarray(level[index]) for level in self.maps), self.targets[index])


Frozen = TypeVar("Frozen", Labelled, MaskLabelled)


@dataclass(frozen=True, slots=True)
class Pictures(Generic[Frozen]):
    """The pictures of the training or the validation split, for heads that change the backbone."""

    frozen: Frozen
    """labels, and the features or maps of the unchanged backbone, from which training starts"""
    pixels: npt.NDArray[np.uint8]
    """[N, S, S, 3] RGB at the backbone's size, of clips [N, T, S, S, 3]; a memory map as a rule"""

    def __post_init__(self) -> None:
        """Refuses as many pictures as there are no labels of."""
        _check(self.frozen.split, [len(self.pixels)], len(self.frozen))

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """A backbone that a head may change a copy of."""

    module: Any
    prepared: Callable[[npt.NDArray[np.uint8]], torch.Tensor]
    """pixels [B, S, S, 3] or [B, T, S, S, 3] to what the module takes, height and width last"""
    read: Callable[[Any, torch.Tensor], list[torch.Tensor]]
    """(module, prepared pixels): a vector [B, D], or the maps [B, D, h, w] that a mask head reads, with gradients"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSettings:
    """What a head needs to know beside its data."""

    config: EvaluateConfig
    num_classes: int
    metric: str
    """by which everything is chosen on the validation split"""
    device: torch.device
    trunk: Trunk | None = None
    """of heads that change the backbone"""


class FittedClasses(Protocol):
    """A fitted head that tells classes."""

    @property
    def details(self) -> dict[str, str]:
        """What was chosen on the validation split, for the score's row."""

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor, as JSON values."""

    def probabilities(self, features: VectorSets) -> Floats:
        """[N, C] of each image's feature sets; rows sum to one."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors, on the CPU."""


class Storable(Protocol):
    """A fitted head of any kind, as far as storing it goes."""

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor, as JSON values."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors, on the CPU."""


class FittedMasks(Protocol):
    """A fitted head that gives masks."""

    @property
    def details(self) -> dict[str, str]:
        """What was chosen on the validation split, for the score's row."""

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor, as JSON values."""

    def logits(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Foreground logits [B, 1, H, W] of maps [B, D, h, w] each, on a grid of the head's own."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors, on the CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapsWanted:
    """Which maps of a backbone a mask head reads, and at which sizes."""

    layout: MapLayout
    """tokens: the last block, or a CNN's last two stages joined; joined: the last four, joined; last, spaced: the last `num_levels` blocks,
    or as many evenly over the depth, each on its own grid; of a CNN the last stages either way"""
    num_levels: int = 1
    input_scale: Callable[[EvaluateConfig], float] = lambda config: 1.0
    """of the image's side; the other scales multiply it"""
    test_scales: Callable[[EvaluateConfig], tuple[float, ...]] = lambda config: (1.0,)
    """at which a test image is read, each with its mirror image where there are several"""
    is_dense: bool = False
    """whether targets have the image's size, and not four times the finest grid's or a quarter of the image's"""


Data = TypeVar("Data")
Fitted = TypeVar("Fitted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head(Generic[Data, Fitted]):
    """A kind of head."""

    name: str
    """what `--heads` and the table of scores call it"""
    fit: Callable[[Data, Data, HeadSettings], Fitted]
    """(train, val, settings): everything that there is to choose is chosen on val"""
    load: Callable[[Mapping[str, torch.Tensor], Mapping[str, Any], torch.device], Fitted]
    """(tensors, state, device): the fitted head again, with equal output"""
    maps: MapsWanted | None = None
    """of a mask head"""


def _check(split: str, sizes: Sequence[int], num_labels: int) -> None:
    if split not in ("train", "val"):
        raise ValueError(f"a head was given the {split!r} split; give train or val, because everything is chosen without the test split")
    if any(size != num_labels for size in sizes):
        raise ValueError(f"features of {', '.join(map(str, sizes))} images have {num_labels} labels; give as many of each")
