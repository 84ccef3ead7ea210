"""Predictions of a stored head: batches of RGB arrays in, classes, masks or boxes out, with their distance to the training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import Backbone, features_of
from evaluation.detection import FittedDetector, FoundBox, found_boxes, pixel_maps
from evaluation.heads import FittedClasses, FittedMasks, HeadError
from evaluation.images import array_image
from evaluation.maps import maps_of
from evaluation.mask_scoring import predicted_masks
from evaluation.predictor import Predictor
from evaluation.training_vectors import FEATURES, map_vectors
from evaluation.video.clip_windows import clip_probabilities, window_sets
from evaluation.video.context_windows import ContextWindow, context_masks, own_patches

__all__ = ["FramePrediction", "predict_clips", "predict_context", "predict_frames", "regions_of"]

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePrediction:
    """What a head says of one picture."""

    probabilities: tuple[float, ...] = ()
    """probability of each class; empty where the head gives masks or boxes"""
    mask: npt.NDArray[np.bool_] | None = None
    """[H, W] at the picture's own size, true on the foreground; None where the head gives none"""
    boxes: tuple[FoundBox, ...] = ()
    """in pixels of the picture, the surest first and one a place, also those below the head's threshold"""
    distance: float | None = None
    """cosine distance, 0 to 2, to the nearest training image; None where those are not known"""


def predict_context(predictor: Predictor, windows: Sequence[ContextWindow]) -> list[FramePrediction]:
    """Predict the masks or boxes of frames among their neighbours, as `with_neighbours` gives them."""
    setup = predictor.context
    assert setup is not None, "the head is one of a video network"
    patches = own_patches(setup, windows)
    distances = _distances(predictor, map_vectors((patches,)))
    if predictor.gives_boxes:
        sizes = [(each.size[1], each.size[0]) for each in windows]
        found = _found(predictor, [torch.from_numpy(patches).to(setup.device).float()], sizes)
        return [FramePrediction(boxes=boxes, distance=distance) for boxes, distance in zip(found, distances, strict=True)]
    masks = context_masks(setup, predictor.head, patches, windows)
    return [FramePrediction(mask=mask, distance=distance) for mask, distance in zip(masks, distances, strict=True)]


def predict_clips(predictor: Predictor, windows: Sequence[Pixels]) -> list[FramePrediction]:
    """Predict clips [W, T, size, size, 3], as `with_windows` gives them; the prediction is of the frame in the middle of each."""
    assert predictor.clips is not None, "the head tells classes of clips"
    features = window_sets(predictor.clips, windows)
    of_windows = _distances(predictor, features[FEATURES])
    told = zip(clip_probabilities(predictor.clips, predictor.head, features), _of_clips(of_windows, len(windows)), strict=True)
    return [FramePrediction(probabilities=tuple(map(float, row)), distance=distance) for row, distance in told]


def predict_frames(predictor: Predictor, frames: Sequence[Pixels]) -> list[FramePrediction]:
    """Predict pictures [H, W, 3] uint8 RGB of any sizes; each is resized whole, as the evaluation resizes its images.

    All of them pass the network at once, so give as many as suit the device (`predictor.backbone.batch_size`).
    """
    if not frames:
        return []
    if predictor.clips is not None or predictor.context is not None:
        raise HeadError("the head reads several frames at once, and single pictures were given; give a video")
    of_kind = _boxes if predictor.gives_boxes else _masks if predictor.gives_masks else _classes
    return of_kind(predictor, frames)


def regions_of(mask: npt.NDArray[np.bool_], *, min_share: float) -> int:
    """How many connected regions (of eight neighbours) a mask [H, W] has, of at least `min_share` of all its pixels each."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return int((stats[1:, cv2.CC_STAT_AREA] >= max(1, min_share * mask.size)).sum())


def _classes(predictor: Predictor, frames: Sequence[Pixels]) -> list[FramePrediction]:
    assert predictor.backbone is not None
    features = features_of(predictor.backbone, _batch(predictor.backbone, frames))
    probabilities = cast(FittedClasses, predictor.head).probabilities(features)
    distances = _distances(predictor, features[FEATURES])
    return [
        FramePrediction(probabilities=tuple(map(float, row)), distance=distance)
        for row, distance in zip(probabilities, distances, strict=True)
    ]


def _masks(predictor: Predictor, frames: Sequence[Pixels]) -> list[FramePrediction]:
    assert predictor.wanted is not None
    assert predictor.backbone is not None
    read = [
        (maps_of(backbone, _batch(backbone, frames), predictor.wanted, is_mirrored=is_mirrored), is_mirrored)
        for backbone, is_mirrored in predictor.views
    ]
    views = [([maps], is_mirrored) for maps, is_mirrored in read]
    sizes = [(frame.shape[0], frame.shape[1]) for frame in frames]
    masks = predicted_masks(cast(FittedMasks, predictor.head), views, sizes, device=predictor.backbone.device)
    side = predictor.backbone.image_size  # that of the training vectors, which the sizes of the head need not have
    same = [maps for (maps, is_mirrored), (at, _) in zip(read, predictor.views, strict=True) if at.image_size == side and not is_mirrored]
    if not same and predictor.distance is not None:
        same = [maps_of(predictor.backbone, _batch(predictor.backbone, frames), predictor.wanted)]
    distances = _distances(predictor, map_vectors(same[0])) if same else [None] * len(frames)
    return [FramePrediction(mask=mask, distance=distance) for mask, distance in zip(masks, distances, strict=True)]


def _boxes(predictor: Predictor, frames: Sequence[Pixels]) -> list[FramePrediction]:
    assert predictor.backbone is not None
    head = cast(FittedDetector, predictor.head)
    maps = pixel_maps(predictor.backbone, _batch(predictor.backbone, frames), is_trained=head.trunk is not None)
    found = _found(predictor, maps, [(frame.shape[1], frame.shape[0]) for frame in frames])
    distances = _distances(predictor, map_vectors((maps[-1].cpu().numpy(),)))
    return [FramePrediction(boxes=boxes, distance=distance) for boxes, distance in zip(found, distances, strict=True)]


def _found(predictor: Predictor, maps: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]) -> list[tuple[FoundBox, ...]]:
    """The boxes of each picture of `sizes` (width, height)."""
    head = cast(FittedDetector, predictor.head)
    told = zip(head.detections(maps), sizes, strict=True)
    return [found_boxes(found, size, image_size=head.image_size, classes=predictor.classes) for found, size in told]


def _batch(backbone: Backbone, frames: Sequence[Pixels]) -> Pixels:
    return np.stack([array_image(frame, size=backbone.image_size, interpolation=backbone.interpolation) for frame in frames])


def _of_clips(of_windows: Sequence[float | None], num_clips: int) -> list[float | None]:
    """The mean distance of each clip's windows, which stand together."""
    each = len(of_windows) // num_clips
    known = [value for value in of_windows if value is not None]
    if len(known) < len(of_windows):
        return [None] * num_clips
    return [sum(known[start : start + each]) / each for start in range(0, len(known), each)]


def _distances(predictor: Predictor, vectors: npt.NDArray[np.float32]) -> list[float | None]:
    if predictor.distance is None:
        return [None] * len(vectors)
    return [float(value) for value in predictor.distance.of(vectors)]
