"""Boxes that a stored detector finds on pictures, in their own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import Backbone
from evaluation.detection.fcos import Detections
from evaluation.detection.metrics import one_a_place
from evaluation.detection.training import FittedDetector, load_detector
from evaluation.heads import read_settings, read_tensors
from evaluation.video.clip_backbone import ClipBackbone

__all__ = ["FoundBox", "found_boxes", "native_corners", "open_detector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBox:
    """A box on a picture."""

    corners: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the picture"""
    label: str
    """its class"""
    score: float


def open_detector(head: Path, backbone: Backbone | ClipBackbone, device: torch.device) -> FittedDetector:
    """A stored detector; the weights of a backbone that it trained are put into `backbone`.

    Args:
        head: file of its tensors.
        backbone: as it was scored, before any training of the detector.
        device: where to compute.

    Raises:
        HeadError: the head is gone or damaged.
    """
    fitted = load_detector(read_tensors(head), read_settings(head)["state"], device)
    if fitted.trunk is not None and isinstance(backbone, Backbone):
        backbone.module.load_state_dict(dict(fitted.trunk))
    return fitted


def native_corners(found: Detections, size: tuple[int, int], *, image_size: int) -> npt.NDArray[np.float64]:
    """Boxes [N, 4] in pixels of a picture of `size` (width, height), of those on the square image of side `image_size`."""
    return np.asarray(found.boxes.cpu().double().numpy() * (np.tile(size, 2) / image_size))


def found_boxes(found: Detections, size: tuple[int, int], *, image_size: int, classes: Sequence[str]) -> tuple[FoundBox, ...]:
    """The boxes of one picture, the surest first; of those at one place the surest alone, as the threshold was chosen.

    Args:
        found: on the square image that the backbone sees.
        size: width and height of the picture.
        image_size: side of the square image.
        classes: names, in class-index order.
    """
    corners, scores = native_corners(found, size, image_size=image_size), found.scores.cpu().double().numpy()
    labels = found.labels.tolist()
    return tuple(
        FoundBox(corners=tuple(corners[place].tolist()), label=classes[labels[place]], score=float(scores[place]))
        for place in one_a_place(corners, scores).tolist()
    )
