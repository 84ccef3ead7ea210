"""Predictions of a stored head: batches of RGB arrays in, classes or masks out, with their distance to the training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from evaluation.backbone import Backbone, ModelRef, features_of
from evaluation.config import EvaluateConfig
from evaluation.heads import FittedClasses, FittedMasks, HeadError, MapsWanted, load_head, maps_wanted
from evaluation.images import array_image
from evaluation.maps import maps_of, resized_backbone
from evaluation.mask_scoring import predicted_masks
from evaluation.replay import ClipNetworks, StoredScore, open_score, stored_backbone, stored_config, stored_model
from evaluation.training_distance import training_distance
from evaluation.training_vectors import FEATURES, TrainingDistance, map_vectors
from evaluation.tuned_backbone import adapted_backbone
from evaluation.video.clip_features import clip_device, load_clip_backbone, num_frames_of
from evaluation.video.clip_tuning import adapted_clip_backbone
from evaluation.video.clip_windows import ClipSetup, clip_probabilities
from evaluation.video.context_rows import context_levels
from evaluation.video.context_windows import ContextSetup, ContextWindow, context_masks
from warehouse.records import Score

__all__ = ["FramePrediction", "Predictor", "open_predictor", "predict_clips", "predict_context", "predict_frames", "regions_of"]

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePrediction:
    """What a head says of one picture."""

    probabilities: tuple[float, ...] = ()
    """of each class; empty where the head gives masks"""
    mask: npt.NDArray[np.bool_] | None = None
    """[H, W] at the picture's own size, true on the foreground; None where the head tells classes"""
    distance: float | None = None
    """cosine distance, 0 to 2, to the nearest training image; None where those are not known"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """A stored head with its backbone, ready to run."""

    score: Score
    kind: str
    """classification, ordinal or segmentation"""
    classes: tuple[str, ...]
    backbone: Backbone | None
    """at the size that the head was trained at; None of a head on clips"""
    views: tuple[tuple[Backbone, bool], ...]
    """sizes at which a mask head reads a picture, and whether mirrored"""
    head: FittedClasses | FittedMasks
    wanted: MapsWanted | None
    distance: TrainingDistance | None
    no_distance: str
    """why there is no distance; empty where there is one"""
    clips: ClipSetup | None = None
    """of a head of clips: how they are read"""
    context: ContextSetup | None = None
    """reading of the frames around each, for a head of masks on a video network"""

    @property
    def gives_masks(self) -> bool:
        """Whether it gives masks, and not classes."""
        return self.wanted is not None

    @property
    def batch_size(self) -> int:
        """Frames, or clips, per forward pass that suit the device."""
        if (reads := self.clips or self.context) is not None:
            num_windows = self.clips.num_windows if self.clips is not None else 1
            return max(1, (64 if reads.device.type == "cuda" else 8) // (reads.num_frames * num_windows))
        assert self.backbone is not None
        return self.backbone.batch_size


def open_predictor(
    score: Score, root: Path, *, cache_dir: Path, device: str = "auto", clip_network: ClipNetworks | None = None
) -> Predictor:
    """Open the head of a score.

    Args:
        score: whose details name a head.
        root: the lake.
        cache_dir: where the evaluation kept its features, for the distance.
        device: auto, cpu or cuda.
        clip_network: finds the video network of a folder, for a head of clips, or of masks on one.

    Raises:
        HeadError: the head or its backbone is not there, damaged or another one.
        BackboneError: the backbone is not usable.
    """
    stored = open_score(score, root)
    config = replace(stored_config(stored.settings["settings"]), device=device)
    kind = stored.settings["kind"]
    if kind == "detection":
        raise HeadError(f"score {score.score_id} is of boxes, which are not predicted on videos yet; give a head of classes or masks")
    if "clips" in stored.settings:
        return _of_clips(stored, config, clip_network)
    if clip_network is not None and (video := stored_model(stored, clip_network)).clip_network is not None:
        return _of_context(stored, video, config)
    model, backbone = stored_backbone(stored, config)
    head = load_head(stored.head, device=backbone.device)
    backbone = adapted_backbone(backbone, head)
    wanted = maps_wanted(stored.settings["head"]) if kind == "segmentation" else None
    views: list[tuple[Backbone, bool]] = []
    sized = backbone
    if wanted is not None:
        sized = resized_backbone(backbone, model, wanted.input_scale(config), seed=config.seed)
        scales = wanted.test_scales(config)
        for scale in scales:
            at_scale = resized_backbone(sized, model, scale, seed=config.seed)
            views += [(at_scale, False), (at_scale, True)] if len(scales) > 1 else [(at_scale, False)]
    elif kind == "segmentation":
        raise HeadError(f"the head {stored.settings['head']!r} reads no maps; give a score of a head that this version has")
    distance, reason = training_distance(stored, sized, model, config, wanted=wanted, cache_dir=cache_dir)
    return Predictor(
        score=score,
        kind=kind,
        classes=tuple(stored.settings["classes"]),
        backbone=sized,
        views=tuple(views),
        head=head,
        wanted=wanted,
        distance=distance,
        no_distance=reason,
    )


def _of_clips(stored: StoredScore, config: EvaluateConfig, clip_network: ClipNetworks | None) -> Predictor:
    told, device = stored.settings["clips"], clip_device(config.device)
    head = load_head(stored.head, device=device)
    setup = ClipSetup(
        network=adapted_clip_backbone(load_clip_backbone(stored_model(stored, clip_network), config), head),
        num_frames=told["frames"],
        num_windows=told["windows"],
        pooling=told["pooling"],
        seconds=told["seconds"],
        device=device,
    )
    return Predictor(
        score=stored.score,
        kind=stored.settings["kind"],
        classes=tuple(stored.settings["classes"]),
        backbone=None,
        views=(),
        head=head,
        wanted=None,
        distance=None,
        no_distance="it is not made for clips",
        clips=setup,
    )


def _of_context(stored: StoredScore, model: ModelRef, config: EvaluateConfig) -> Predictor:
    wanted = maps_wanted(stored.settings["head"])
    if wanted is None:
        raise HeadError(f"the head {stored.settings['head']!r} reads no maps; give a score of a head that this version has")
    device, network = clip_device(config.device), load_clip_backbone(model, config)
    return Predictor(
        score=stored.score,
        kind=stored.settings["kind"],
        classes=tuple(stored.settings["classes"]),
        backbone=None,
        views=(),
        head=load_head(stored.head, device=device),
        wanted=wanted,
        distance=None,
        no_distance="it is not made for masks of a video network",
        context=ContextSetup(network=network, num_frames=num_frames_of(network, config), levels=context_levels(wanted), device=device),
    )


def predict_context(predictor: Predictor, windows: Sequence[ContextWindow]) -> list[FramePrediction]:
    """Predict the masks of frames among their neighbours, as `with_neighbours` gives them."""
    assert predictor.context is not None, "the head reads masks of a video network"
    return [FramePrediction(mask=mask) for mask in context_masks(predictor.context, predictor.head, windows)]


def predict_clips(predictor: Predictor, windows: Sequence[Pixels]) -> list[FramePrediction]:
    """Predict clips [W, T, size, size, 3], as `with_windows` gives them; the prediction is of the frame in the middle of each."""
    assert predictor.clips is not None, "the head tells classes of clips"
    return [FramePrediction(probabilities=tuple(map(float, row))) for row in clip_probabilities(predictor.clips, predictor.head, windows)]


def predict_frames(predictor: Predictor, frames: Sequence[Pixels]) -> list[FramePrediction]:
    """Predict pictures [H, W, 3] uint8 RGB of any sizes; each is resized whole, as the evaluation resizes its images.

    All of them pass the network at once, so give as many as suit the device (`predictor.backbone.batch_size`).
    """
    if not frames:
        return []
    if predictor.clips is not None or predictor.context is not None:
        raise HeadError("the head reads several frames at once, and single pictures were given; give a video")
    return _masks(predictor, frames) if predictor.wanted is not None else _classes(predictor, frames)


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


def _batch(backbone: Backbone, frames: Sequence[Pixels]) -> Pixels:
    return np.stack([array_image(frame, size=backbone.image_size, interpolation=backbone.interpolation) for frame in frames])


def _distances(predictor: Predictor, vectors: npt.NDArray[np.float32]) -> list[float | None]:
    if predictor.distance is None:
        return [None] * len(vectors)
    return [float(value) for value in predictor.distance.of(vectors)]
