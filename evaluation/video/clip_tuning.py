"""Between heads that change the weights and a network of clips: what they train on, and the network as they changed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import BackboneError
from evaluation.config import EvaluateConfig
from evaluation.heads import (
    TUNED_CLASS_HEADS,
    FittedClasses,
    FittedMasks,
    HeadSettings,
    Labelled,
    Trunk,
    TunedClasses,
    changed,
)
from evaluation.stored_evaluation import Places
from evaluation.tasks import Item, TaskData
from evaluation.training_vectors import FEATURES
from evaluation.tuned_backbone import kept_pixels, pictures_of
from evaluation.video.clip_backbone import ClipBackbone, TrainableClipBackbone, clip_tensor
from evaluation.video.clip_features import clip_device, extract_clip_features, interpolation_of, num_frames_of, pooled_sets, window_batches
from evaluation.video.clip_frames import ClipSource
from evaluation.video.clip_order import ordered_start, seen_by, told_order
from warehouse.store import content_id

__all__ = ["adapted_clip_backbone", "clip_trunk", "tuned_clips"]

Floats = npt.NDArray[np.float32]


def tuned_clips(
    backbone: ClipBackbone,
    task: TaskData,
    places: Places,
    source: ClipSource,
    name: str,
    train: Labelled,
    val: Labelled,
    settings: HeadSettings,
    *,
    num_windows: int,
) -> tuple[FittedClasses, Floats]:
    """A head that changes the network, and its probabilities [N * W, C] of the windows of the test clips.

    Args:
        backbone: from which training starts; it stays as it is.
        task: the clips.
        places: where the pixels of the training and validation clips are kept, at the network's size.
        source: how videos are read.
        name: of the head.
        train: features and labels of the windows of training clips, from which the head starts.
        val: of validation clips.
        settings: of the head.
        num_windows: W, each a sample of its own.

    Raises:
        BackboneError: the weights of the network are not at hand.
        ClipError: a clip cannot be read.
    """
    config = settings.config
    trunk = clip_trunk(backbone, config)
    size, frames = backbone.image_size, num_frames_of(backbone, config)

    def pixels(clips: Sequence[Item], clips_id: str) -> npt.NDArray[np.uint8]:
        key = content_id(["windows", clips_id, size, interpolation_of(backbone), frames, num_windows])
        shape = (len(clips) * num_windows, frames, size, size, 3)
        return kept_pixels(places.cache / f"{key}.npy", shape, window_batches(backbone, clips, source, config, num_windows=num_windows))

    shown = pictures_of(task, (train, val), pixels, images_id=places.images_id)
    start = ordered_start(backbone, shown[0].pixels, config) if name == "finetune" else None
    if start is not None:
        shown, trunk = [seen_by(start, part, config) for part in shown], clip_trunk(start, config)
    head = TUNED_CLASS_HEADS[name].fit(shown[0], shown[1], replace(settings, trunk=trunk))
    if start is not None:
        head = told_order(head)
    adapted = adapted_clip_backbone(backbone, head)
    return head, head.probabilities(extract_clip_features(adapted, task.split("test"), source, config, num_windows=num_windows))


def clip_trunk(backbone: ClipBackbone, config: EvaluateConfig) -> Trunk:
    """The network as heads train it: pixels [B, T, S, S, 3] to the vector of each clip, as `clip_pooling` says.

    Raises:
        BackboneError: its weights are not at hand.
    """
    trainable = _trainable(backbone)
    device = clip_device(config.device)

    def prepared(pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        return clip_tensor(pixels, mean=trainable.mean, std=trainable.std, device=device)

    def vector(module: Any, clips: torch.Tensor) -> list[torch.Tensor]:
        return [pooled_sets(trainable.with_module(module), clips, pooling=config.clip_pooling)[FEATURES]]

    return Trunk(module=trainable.module, prepared=prepared, read=vector)


def adapted_clip_backbone(backbone: ClipBackbone, head: FittedClasses | FittedMasks) -> ClipBackbone:
    """The network as a head changed it; as it is where the head changes none.

    Raises:
        BackboneError: its weights are not at hand.
    """
    if not isinstance(head, TunedClasses):
        return backbone
    trainable = _trainable(backbone)
    return trainable.with_module(changed(trainable.module, head.change))


def _trainable(backbone: ClipBackbone) -> TrainableClipBackbone:
    if not isinstance(backbone, TrainableClipBackbone) or getattr(getattr(backbone, "backbone", None), "has_tokens", True) is False:
        raise BackboneError("the network's weights are not at hand, so it cannot be trained here; leave out heads that change the backbone")
    return backbone
