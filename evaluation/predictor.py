"""A stored head of a score with its backbone, ready to predict what it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from evaluation.backbone import Backbone, ModelRef
from evaluation.config import EvaluateConfig
from evaluation.detection import FittedDetector, maps_wanted as box_maps_wanted, open_detector
from evaluation.heads import FittedClasses, FittedMasks, HeadError, MapsWanted, load_head, maps_wanted
from evaluation.maps import resized_backbone
from evaluation.replay import ClipNetworks, StoredScore, loaded_backbone, open_score, stored_config, stored_model
from evaluation.training_distance import training_distance, video_distance
from evaluation.training_vectors import TrainingDistance
from evaluation.tuned_backbone import adapted_backbone
from evaluation.video.clip_features import clip_device, load_clip_backbone, num_frames_of
from evaluation.video.clip_tuning import adapted_clip_backbone
from evaluation.video.clip_windows import ClipSetup
from evaluation.video.context_rows import context_levels
from evaluation.video.context_windows import ContextSetup
from warehouse.records import Score

__all__ = ["Predictor", "open_predictor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """A stored head with its backbone, ready to run."""

    score: Score
    kind: str
    """classification, ordinal, segmentation or detection"""
    classes: tuple[str, ...]
    head: FittedClasses | FittedMasks | FittedDetector
    distance: TrainingDistance | None
    no_distance: str
    """why there is no distance; empty where there is one"""
    backbone: Backbone | None = None
    """at the size that the head was trained at; None of a head on clips, or on a video network"""
    views: tuple[tuple[Backbone, bool], ...] = ()
    """sizes at which a mask head reads a picture, and whether mirrored"""
    wanted: MapsWanted | None = None
    """maps that the head reads"""
    clips: ClipSetup | None = None
    """reading of clips, for a head of clips"""
    context: ContextSetup | None = None
    """reading of the frames around each, for a head of masks or boxes on a video network"""

    @property
    def gives_masks(self) -> bool:
        """Whether it gives masks."""
        return self.kind == "segmentation"

    @property
    def gives_boxes(self) -> bool:
        """Whether it gives boxes."""
        return self.kind == "detection"

    @property
    def threshold(self) -> float:
        """Score from which on a box counts, chosen on the validation split; of a head of boxes."""
        assert isinstance(self.head, FittedDetector)
        return self.head.threshold

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
        clip_network: finds the video network of a folder, for a head of clips, or of masks or boxes on one.

    Raises:
        HeadError: the head or its backbone is not there, damaged or another one.
        BackboneError: the backbone is not usable.
    """
    stored = open_score(score, root)
    config = replace(stored_config(stored.settings["settings"]), device=device)
    kind = stored.settings["kind"]
    if kind == "segmentation" and maps_wanted(stored.settings["head"]) is None:
        raise HeadError(f"the head {stored.settings['head']!r} reads no maps; give a score of a head that this version has")
    model = stored_model(stored, clip_network)
    predictor = partial(Predictor, score=score, kind=kind, classes=tuple(stored.settings["classes"]))
    if "clips" in stored.settings:
        return _of_clips(predictor, stored, model, config)
    if model.clip_network is not None:
        return _of_context(predictor, stored, model, config)
    of_pictures = _of_boxes if kind == "detection" else _of_pictures
    return of_pictures(predictor, stored, model, config, cache_dir)


def _of_pictures(
    predictor: Callable[..., Predictor], stored: StoredScore, model: ModelRef, config: EvaluateConfig, cache_dir: Path
) -> Predictor:
    backbone = loaded_backbone(stored, model, config)
    head = load_head(stored.head, device=backbone.device)
    backbone = adapted_backbone(backbone, head)
    wanted = maps_wanted(stored.settings["head"])
    views: list[tuple[Backbone, bool]] = []
    sized = backbone
    if wanted is not None:
        sized = resized_backbone(backbone, model, wanted.input_scale(config), seed=config.seed)
        scales = wanted.test_scales(config)
        for scale in scales:
            at_scale = resized_backbone(sized, model, scale, seed=config.seed)
            views += [(at_scale, False), (at_scale, True)] if len(scales) > 1 else [(at_scale, False)]
    distance, reason = training_distance(stored, sized, model, config, wanted=wanted, cache_dir=cache_dir)
    return predictor(head=head, distance=distance, no_distance=reason, backbone=sized, views=tuple(views), wanted=wanted)


def _of_boxes(
    predictor: Callable[..., Predictor], stored: StoredScore, model: ModelRef, config: EvaluateConfig, cache_dir: Path
) -> Predictor:
    backbone = loaded_backbone(stored, model, config)
    head = open_detector(stored.head, backbone, backbone.device)
    if head.trunk is None:
        wanted = box_maps_wanted(backbone)
        distance, reason = training_distance(stored, backbone, model, config, wanted=wanted, cache_dir=cache_dir)
    else:
        distance, reason = None, "the detector trained its backbone, of which no vectors of the training frames are kept"
    return predictor(head=head, distance=distance, no_distance=reason, backbone=backbone)


def _of_clips(predictor: Callable[..., Predictor], stored: StoredScore, model: ModelRef, config: EvaluateConfig) -> Predictor:
    told, device = stored.settings["clips"], clip_device(config.device)
    head = load_head(stored.head, device=device)
    setup = ClipSetup(
        network=adapted_clip_backbone(load_clip_backbone(model, config), head),
        num_frames=told["frames"],
        num_windows=told["windows"],
        pooling=told["pooling"],
        seconds=told["seconds"],
        device=device,
    )
    distance, reason = video_distance(stored)
    return predictor(head=head, distance=distance, no_distance=reason, clips=setup)


def _of_context(predictor: Callable[..., Predictor], stored: StoredScore, model: ModelRef, config: EvaluateConfig) -> Predictor:
    wanted = maps_wanted(stored.settings["head"])
    device, network = clip_device(config.device), load_clip_backbone(model, config)
    head = open_detector(stored.head, network, device) if wanted is None else load_head(stored.head, device=device)
    levels = 1 if wanted is None else context_levels(wanted)
    setup = ContextSetup(network=network, num_frames=num_frames_of(network, config), levels=levels, device=device)
    distance, reason = video_distance(stored)
    return predictor(head=head, distance=distance, no_distance=reason, context=setup)
