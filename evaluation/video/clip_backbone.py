"""What a network says of clips: one vector a clip, and a vector for each patch of each frame.

A video network is handed over by the caller (`ModelRef.clip_network`), for evaluation imports no trainer. An image backbone is a clip
backbone too: it sees each frame alone, and the vectors of the frames are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import Backbone, vectors_and_tokens

__all__ = ["ClipBackbone", "ClipReader", "ImageClipBackbone", "OrderableClipBackbone", "TrainableClipBackbone", "clip_tensor"]

ClipReader = Callable[[str, Sequence[float]], npt.NDArray[np.uint8]]
"""(path of a video, seconds since its first frame) to the frames shown then, [T, H, W, 3] uint8 RGB, in the order asked for."""


@runtime_checkable
class ClipBackbone(Protocol):
    """A frozen network of clips, with the preprocessing that it was trained with."""

    @property
    def dim(self) -> int:
        """Width D of a clip's vector."""

    @property
    def image_size(self) -> int:
        """Side of a frame in pixels."""

    @property
    def num_frames(self) -> int:
        """Frames T that suit it; it takes other numbers too."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the normalisation, for values in [0, 1]."""

    @property
    def std(self) -> tuple[float, ...]:
        """Of the normalisation, for values in [0, 1]."""

    def tokens(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (B, D) and patches (B, T, h, w, D) of normalised clips (B, 3, T, H, W); a CNN's patches have a width of their own."""


@runtime_checkable
class TrainableClipBackbone(ClipBackbone, Protocol):
    """A network of clips whose weights are at hand, so that heads may change a copy of them."""

    @property
    def module(self) -> Any:
        """The weights."""

    def with_module(self, module: Any) -> Self:
        """The same network with other weights of the same architecture."""


@runtime_checkable
class OrderableClipBackbone(TrainableClipBackbone, Protocol):
    """A network of clips that can be made to tell a clip from its reverse, where its weights do not."""

    def with_order(self, clips: torch.Tensor) -> Self:
        """The same network with a time embedding that tells frames apart, as large as suits normalised clips (B, 3, T, H, W)."""


class ImageClipBackbone:
    """An image backbone that sees each frame alone; a clip's vector is the mean of its frames', whatever their order."""

    def __init__(self, backbone: Backbone, *, num_frames: int = 8) -> None:
        """Wrap a backbone.

        Args:
            backbone: as `load_backbone` gives it; one without patch tokens gives its vector as the only patch of a frame.
            num_frames: frames of a clip, unless an evaluation asks for another number.
        """
        self.backbone = backbone
        self.num_frames = num_frames
        self.image_size, self.mean, self.std = backbone.image_size, backbone.mean, backbone.std
        self.own_size = backbone.own_size

    @property
    def module(self) -> Any:
        """The weights of the image backbone."""
        return self.backbone.module

    def with_module(self, module: Any) -> ImageClipBackbone:
        """As `TrainableClipBackbone.with_module`."""
        return ImageClipBackbone(replace(self.backbone, module=module), num_frames=self.num_frames)

    @property
    def dim(self) -> int:
        """Width of a frame's vector, found by one forward pass."""
        side = self.image_size
        return int(self.tokens(torch.zeros(1, 3, 1, side, side, device=self.backbone.device))[0].shape[1])

    def tokens(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `ClipBackbone.tokens`."""
        batch, channels, frames, height, width = clips.shape
        images = clips.transpose(1, 2).reshape(batch * frames, channels, height, width)
        if not self.backbone.has_tokens:
            vectors = self.backbone.module(images)
            return vectors.view(batch, frames, -1).mean(1), vectors.view(batch, frames, 1, 1, -1)
        last, maps = vectors_and_tokens(self.backbone.module, images, num_blocks=2)
        patches = maps.permute(0, 2, 3, 1).reshape(batch, frames, *maps.shape[2:], maps.shape[1])
        return last[-1].view(batch, frames, -1).mean(1), patches


def clip_tensor(
    frames: npt.NDArray[np.uint8], *, mean: Sequence[float], std: Sequence[float], device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Frames [B, T, H, W, 3] uint8 RGB as normalised clips (B, 3, T, H, W) float32 on a device."""
    tensor = torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 4, 1, 2, 3).float().div_(255)
    shift, scale = (torch.tensor(tuple(values), device=device, dtype=torch.float32).view(1, 3, 1, 1, 1) for values in (mean, std))
    return (tensor - shift) / scale
