"""Heads that change the backbone: a linear classifier or a decoder, and what training did to the weights below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evaluation.heads.backbone_change import BackboneChange
from evaluation.heads.decoder_training import FittedDecoder, load_decoder
from evaluation.heads.head import Floats, VectorSets
from evaluation.heads.linear import LinearProbe, load_linear

__all__ = ["TunedClasses", "TunedMasks", "load_tuned_classes", "load_tuned_masks"]

_BACKBONE, _HEAD = "backbone.", "head."


@dataclass(frozen=True, slots=True)
class TunedClasses:
    """A linear classifier on the features of the changed backbone."""

    change: BackboneChange
    head: LinearProbe

    @property
    def details(self) -> dict[str, str]:
        """What was chosen on the validation split, and how the backbone was changed."""
        return self.head.details

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor."""
        return _state(self.change, self.head.state)

    def probabilities(self, features: VectorSets) -> Floats:
        """[N, C] of the feature sets that the changed backbone gives."""
        return self.head.probabilities(features)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The change of the backbone, and the classifier."""
        return _tensors(self.change, self.head.tensors())


@dataclass(frozen=True, slots=True)
class TunedMasks:
    """A decoder on the maps of the changed backbone."""

    change: BackboneChange
    head: FittedDecoder

    @property
    def details(self) -> dict[str, str]:
        """What was chosen on the validation split, and how the backbone was changed."""
        return self.head.details

    @property
    def state(self) -> dict[str, Any]:
        """All that is no tensor."""
        return _state(self.change, self.head.state)

    def logits(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """[B, 1, H, W] of maps that the changed backbone gives."""
        return self.head.logits(maps)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The change of the backbone, and the decoder."""
        return _tensors(self.change, self.head.tensors())


def load_tuned_classes(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any], device: torch.device) -> TunedClasses:
    """As it was fitted."""
    return TunedClasses(_change(tensors, state), load_linear(_named(tensors, _HEAD), state["head"], device))


def load_tuned_masks(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any], device: torch.device) -> TunedMasks:
    """As it was fitted."""
    return TunedMasks(_change(tensors, state), load_decoder(_named(tensors, _HEAD), state["head"], device))


def _state(change: BackboneChange, head: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": change.kind, "scale": change.scale, "head": dict(head)}


def _tensors(change: BackboneChange, head: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        **{f"{_BACKBONE}{name}": value for name, value in change.tensors.items()},
        **{f"{_HEAD}{name}": value for name, value in head.items()},
    }


def _change(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> BackboneChange:
    return BackboneChange(kind=state["kind"], scale=state["scale"], tensors=_named(tensors, _BACKBONE))


def _named(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
