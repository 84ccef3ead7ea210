"""What is said of one frame, and whether it is a finding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from curation.ingest import Playback, content_mask
from curation.video import SampledFrame
from evaluation.detection import FoundBox
from evaluation.predict import FramePrediction, regions_of
from evaluation.predict_config import PredictConfig
from evaluation.predictor import Predictor

__all__ = ["PredictedFrame", "positive_classes", "predicted_frame", "within_content"]

_UNNAMED = "foreground"
_NO_FINDING = ("normal", "negative", "none", "healthy", "mucosa", "0", "background")
"""names of a first class that is no finding"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedFrame:
    """What is said of one frame."""

    number: int
    """place among the video's frames in presentation order, or of the folder's images, from 0"""
    position: float
    """seconds since the first frame, or the image's number"""
    hidden: str | None = None
    """why it is not shown; nothing is said of it then"""
    label: str = ""
    """most probable class; of a mask the foreground's name where it has a region, of boxes the class of the surest, else nothing"""
    finding: str | None = None
    """the label, where it is a finding"""
    strength: float = 0.0
    """probability of the label, share of the foreground, or score of the surest box"""
    value: float = 0.0
    """probability of all findings together, share of the foreground, or score of the surest box of a finding, whatever the threshold"""
    probabilities: tuple[float, ...] = ()
    num_regions: int | None = None
    mask: str | None = None
    """path of the mask below the output folder"""
    boxes: tuple[FoundBox, ...] = ()
    """from the head's threshold on, the surest first"""
    distance: float | None = None
    is_unlike: bool | None = None


def positive_classes(predictor: Predictor, config: PredictConfig) -> frozenset[str]:
    """The classes that are findings: those asked for, else all classes of boxes, or all but the first, where that is known to be none.

    Raises:
        ValueError: the head has no such class, or nothing says which of its classes are findings.
    """
    known = predictor.classes
    if unknown := set(config.positive) - set(known):
        raise ValueError(f"positive is {sorted(unknown)}, and the head knows {', '.join(known) or 'masks only'}; give some of these")
    if predictor.gives_boxes:
        return frozenset(config.positive or known)
    is_clear = predictor.gives_masks or predictor.kind == "ordinal" or known[0].strip().casefold() in _NO_FINDING
    if not config.positive and not is_clear:
        raise ValueError(
            f"the head's classes are {', '.join(known)}, and nothing says which of them are findings; name those with --positive"
        )
    return frozenset(config.positive or known[1:])


def within_content(prediction: FramePrediction, frame: SampledFrame, playback: Playback) -> FramePrediction:
    """The prediction with its mask cut to the content area, beyond which there is no tissue."""
    sample = playback.samples.get(frame.frame_index)
    if prediction.mask is None or sample is None:
        return prediction
    height, width = prediction.mask.shape
    return replace(prediction, mask=prediction.mask & (content_mask(sample, (height, width)) > 0))


def predicted_frame(
    frame: SampledFrame,
    prediction: FramePrediction,
    playback: Playback,
    predictor: Predictor,
    config: PredictConfig,
    positive: frozenset[str],
    *,
    mask_name: str,
) -> PredictedFrame:
    """What a prediction says of a frame.

    Args:
        frame: as it was played.
        prediction: of the head.
        playback: says which frames are hidden.
        predictor: that predicted.
        config: what counts as a finding.
        positive: classes that are findings.
        mask_name: path of its mask below the output folder.
    """
    position = frame.pts_us / 1e6 if playback.in_time else float(frame.frame_index)
    hidden = playback.hidden(frame.frame_index)
    if hidden is not None:
        return PredictedFrame(number=frame.frame_index, position=position, hidden=hidden)
    number = None
    boxes: tuple[FoundBox, ...] = ()
    if prediction.mask is not None:
        number = regions_of(prediction.mask, min_share=config.min_region_share)
        strength = value = float(prediction.mask.mean())
        label = (predictor.classes[-1] if predictor.classes else _UNNAMED) if number else ""
        is_positive = number > 0
    elif predictor.gives_boxes:
        boxes = tuple(box for box in prediction.boxes if box.score >= predictor.threshold)
        findings = [box for box in boxes if box.label in positive]
        label, strength = next(((box.label, box.score) for box in (*findings, *boxes)), ("", 0.0))
        value = max((box.score for box in prediction.boxes if box.label in positive), default=0.0)
        is_positive = bool(findings)
    else:
        best = int(np.argmax(prediction.probabilities))
        label, strength = predictor.classes[best], prediction.probabilities[best]
        value = sum(share for each, share in zip(predictor.classes, prediction.probabilities, strict=True) if each in positive)
        is_positive = label in positive and strength >= config.min_probability
    distance, known = prediction.distance, predictor.distance
    return PredictedFrame(
        number=frame.frame_index,
        position=position,
        label=label,
        finding=label if is_positive else None,
        strength=strength,
        value=value,
        probabilities=prediction.probabilities,
        num_regions=number,
        mask=mask_name if prediction.mask is not None else None,
        boxes=boxes,
        distance=distance,
        is_unlike=distance > known.threshold if distance is not None and known is not None else None,
    )
