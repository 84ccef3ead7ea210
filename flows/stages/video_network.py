"""A video backbone of this project's training as the network that evaluation scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from evaluation.backbone import ModelRef
from evaluation.video.clip_backbone import ClipBackbone
from pretrain.video.export import is_video_backbone, load_video_backbone, read_video_info
from pretrain.video.model import DividedSpaceTimeViT
from pretrain.video.time_order import with_time_order

__all__ = ["VideoNetwork", "find_video_network", "video_model", "video_network"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoNetwork:
    """A `ClipBackbone` of a network with divided space-time attention."""

    module: DividedSpaceTimeViT
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def dim(self) -> int:
        """Width of a clip's vector."""
        return self.module.embed_dim

    @property
    def image_size(self) -> int:
        """Side of a frame in pixels."""
        return self.module.sizes.image_size

    @property
    def num_frames(self) -> int:
        """Rows of the time embedding."""
        return self.module.sizes.num_frames

    def with_module(self, module: DividedSpaceTimeViT) -> VideoNetwork:
        """As `TrainableClipBackbone.with_module`."""
        return replace(self, module=module)

    def with_order(self, clips: torch.Tensor) -> VideoNetwork:
        """As `OrderableClipBackbone.with_order`."""
        return self.with_module(with_time_order(self.module, clips))

    def tokens(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `ClipBackbone.tokens`."""
        found = self.module(clips)
        return found.cls, found.patches


def video_network(device: str, weights: str, seed: int, *, folder: str) -> ClipBackbone:
    """The network of a folder, frozen and on a device, or another one of its sizes with random weights.

    Args:
        device: auto, cpu or cuda.
        weights: trained or random.
        seed: of random weights.
        folder: as the video recipes export it.

    Raises:
        ValueError: the folder is not usable.
    """
    chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    info = read_video_info(Path(folder))
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = DividedSpaceTimeViT(info.sizes)
    else:
        module = load_video_backbone(Path(folder))
    return VideoNetwork(module=module.eval().requires_grad_(False).to(chosen), mean=info.mean, std=info.std)


def find_video_network(folder: Path) -> Callable[[str, str, int], ClipBackbone] | None:
    """What gives the video network of a folder; None if it holds an image network."""
    return partial(video_network, folder=str(folder.absolute())) if is_video_backbone(folder) else None


def video_model(folder: Path, *, model_id: str, label: str) -> ModelRef:
    """The model of a folder that holds a video backbone."""
    found = str(folder.absolute())
    return ModelRef(model_id=model_id, label=label, path=found, clip_network=partial(video_network, folder=found))
