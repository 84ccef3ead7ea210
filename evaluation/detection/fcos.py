"""Torchvision's FCOS on the maps of a backbone: its head, losses and choice of boxes on a pyramid of three levels.

The network of the backbone is not part of it: maps go in, so that those of a frozen one are computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList

from evaluation.detection.pyramid import SimplePyramid

__all__ = ["Detections", "Detector", "Target"]

_PUBLISHED_WIDTH, _PUBLISHED_CONVS, _CPU_CONVS = 256, 4, 2
_LEAST_SCORE = 0.02
_NMS_IOU = 0.6
_CANDIDATES = 1000
_MOST_BOXES = 100


@dataclass(frozen=True, slots=True)
class Target:
    """The true boxes of one image."""

    boxes: torch.Tensor
    """[M, 4] x1, y1, x2, y2 in pixels of the square image that the backbone sees; each has an area"""
    labels: torch.Tensor
    """[M] class indices"""


@dataclass(frozen=True, slots=True)
class Detections:
    """What is found on one image, the surest first."""

    boxes: torch.Tensor
    """[N, 4] x1, y1, x2, y2 in pixels of the square image"""
    labels: torch.Tensor
    """[N] class indices"""
    scores: torch.Tensor
    """[N] square root of class probability times centreness"""


class Detector(nn.Module):
    """A pyramid and FCOS's head."""

    def __init__(self, channels: Sequence[int], width: int, *, num_classes: int) -> None:
        """Build it.

        Args:
            channels: of the backbone's maps, one or three.
            width: of the pyramid and the head. From 256 on, as published, each branch of the head has four convolutions, below two.
            num_classes: without the background.
        """
        super().__init__()
        # its own forward pass would resize and normalise images and run a network on them; here its parts are run on maps
        self.fcos = FCOS(
            SimplePyramid(channels, width),
            num_classes=num_classes,
            head=FCOSHead(width, 1, num_classes, num_convs=_PUBLISHED_CONVS if width >= _PUBLISHED_WIDTH else _CPU_CONVS),
            score_thresh=_LEAST_SCORE,
            nms_thresh=_NMS_IOU,
            detections_per_img=_MOST_BOXES,
            topk_candidates=_CANDIDATES,
        )

    def loss(self, maps: Sequence[torch.Tensor], targets: Sequence[Target], *, image_size: int) -> torch.Tensor:
        """Focal loss of classes + GIoU loss of boxes + cross-entropy of centreness; images without boxes count.

        Args:
            maps: [B, D, h, w] each.
            targets: of the B images.
            image_size: side of the square image that the maps are of.
        """
        outputs, anchors, sizes = self._run(maps, image_size)
        told = [{"boxes": target.boxes, "labels": target.labels} for target in targets]
        losses = self.fcos.compute_loss(told, outputs, anchors, sizes)
        return torch.stack(list(losses.values())).sum()

    @torch.inference_mode()
    def detections(self, maps: Sequence[torch.Tensor], *, image_size: int) -> list[Detections]:
        """Boxes of each of B images."""
        outputs, anchors, sizes = self._run(maps, image_size)
        by_level = {name: list(torch.split_with_sizes(values, sizes, dim=1)) for name, values in outputs.items()}
        split_anchors = [list(torch.split_with_sizes(one, sizes)) for one in anchors]
        found = self.fcos.postprocess_detections(by_level, split_anchors, [(image_size, image_size)] * len(anchors))
        return [Detections(one["boxes"], one["labels"], one["scores"]) for one in found]

    def _run(self, maps: Sequence[torch.Tensor], image_size: int) -> tuple[dict[str, torch.Tensor], list[torch.Tensor], list[int]]:
        levels = self.fcos.backbone(maps)
        outputs = self.fcos.head(levels)
        batch = len(levels[0])
        image = torch.empty((batch, 3, image_size, image_size), device="meta")  # only its shape is read
        anchors = _anchors(ImageList(image, [(image_size, image_size)] * batch), levels)
        return outputs, anchors, [level.shape[2] * level.shape[3] for level in levels]


def _anchors(images: ImageList, levels: list[torch.Tensor]) -> list[torch.Tensor]:
    """Of each image; as large as the strides, which are those of the patches: 7, 14 and 28 pixels for patches of 14."""
    strides = [images.tensors.shape[-1] // level.shape[2] for level in levels]
    generator = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
    anchors: list[torch.Tensor] = generator.to(levels[0].device)(images, levels)
    return anchors
