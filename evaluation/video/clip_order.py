"""Whether a network of clips tells a clip from its reverse, and the start of training for one that does not.

Where it does not, a classifier of its vectors has no weights to tell the two by. The gradient that reaches the network goes through those
weights, so fine-tuning from there stays where it is: at the start nothing of the network is moved towards an order.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from evaluation.config import EvaluateConfig
from evaluation.heads import Labelled, Pictures, TunedClasses
from evaluation.training_vectors import FEATURES
from evaluation.video.clip_backbone import ClipBackbone, OrderableClipBackbone, clip_tensor
from evaluation.video.clip_features import clip_device, clip_sets, pooled_sets

__all__ = ["ordered_start", "seen_by", "tells_order", "told_order"]

_PROBED = 16
"""clips by which a network is judged, and its time embedding given a size"""
_LEAST_CHANGE = 0.02
"""change of a vector when its clip is reversed, over the spread of vectors of different clips"""
_BATCH = 8


def ordered_start(backbone: ClipBackbone, pixels: npt.NDArray[np.uint8], config: EvaluateConfig) -> ClipBackbone | None:
    """The network with an order told to it, from which fine-tuning starts; None where its own weights are to do.

    Args:
        backbone: it stays as it is.
        pixels: [N, T, S, S, 3] RGB of training clips.
        config: `clip_order` decides, `clip_pooling` says what a vector is.
    """
    as_published = config.clip_order == "auto" and config.protocol == "published"
    if config.clip_order == "own" or as_published or not isinstance(backbone, OrderableClipBackbone) or pixels.shape[1] == 1:
        return None
    drawn = np.array(pixels[:: max(1, len(pixels) // _PROBED)][:_PROBED])
    clips = clip_tensor(drawn, mean=backbone.mean, std=backbone.std, device=clip_device(config.device))
    if config.clip_order == "auto" and tells_order(backbone, clips, pooling=config.clip_pooling):
        return None
    return backbone.with_order(clips)


def tells_order(backbone: ClipBackbone, clips: torch.Tensor, *, pooling: str) -> bool:
    """Whether vectors of normalised clips (B, 3, T, H, W) change with their order by more than a fiftieth of their spread over clips."""
    with torch.inference_mode():
        forward, backward = (pooled_sets(backbone, played, pooling=pooling)[FEATURES] for played in (clips, clips.flip(2)))
        change, spread = (found.square().mean().sqrt() for found in (forward - backward, forward - forward.mean(0)))
    return bool(change > _LEAST_CHANGE * spread)


def seen_by(backbone: ClipBackbone, shown: Pictures[Labelled], config: EvaluateConfig) -> Pictures[Labelled]:
    """Clips with the features that another network gives for them."""
    device, pixels = clip_device(config.device), shown.pixels
    batches = [
        clip_sets(backbone, np.array(pixels[first : first + _BATCH]), pooling=config.clip_pooling, device=device)
        for first in range(0, len(pixels), _BATCH)
    ]
    features = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    return replace(shown, frozen=replace(shown.frozen, features=features))


def told_order(head: TunedClasses) -> TunedClasses:
    """A head whose details say that an order was told to its network."""
    return replace(head, head=replace(head.head, details={**head.details, "clip_order": "added to the time embedding"}))
