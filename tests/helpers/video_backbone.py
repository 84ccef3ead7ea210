"""A video network small enough for tests."""

from __future__ import annotations

from pathlib import Path

import torch

from pretrain.video.export import write_video_backbone
from pretrain.video.model import DividedSpaceTimeViT, SpaceTimeSizes

__all__ = ["tiny_video_backbone"]


def tiny_video_backbone(folder: Path) -> Path:
    """A network of random weights for four frames of 28 x 28 pixels, as the video recipes export it."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(5)
    module = DividedSpaceTimeViT(SpaceTimeSizes(embed_dim=24, depth=2, num_heads=2, image_size=28, patch_size=14, num_frames=4))
    write_video_backbone(module, folder, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return folder
