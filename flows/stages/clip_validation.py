"""How checkpoints of a run on clips are scored while it trains: by views of its own clips, and on labelled images as clips of one frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from evaluation.backbone import VectorNetwork
from evaluation.validate import checkpoint_scores
from evaluation.validation_tasks import ValidationTask
from evaluation.views import effective_rank, view_matching
from pretrain.video.export import load_video_backbone, read_video_info
from pretrain.video.fixed_views import FixedClipViews

__all__ = ["clip_checkpoint_scores", "frame_network"]


def clip_checkpoint_scores(
    exported_folder: str, *, views: FixedClipViews, tasks: Sequence[ValidationTask] = (), chosen_by: str | None = None
) -> tuple[str, float, dict[str, float]]:
    """All scores of a video checkpoint, and the one that chooses; a callback of pretraining.

    Args:
        exported_folder: config.json and model.safetensors of a video backbone.
        views: pairs of views of fixed clips.
        tasks: labelled sets of images, each scored by k-NN.
        chosen_by: name of the one that chooses; their weighted mean if not given.
    """
    matched = _matched(Path(exported_folder), views)
    return checkpoint_scores(exported_folder, tasks=tasks, chosen_by=chosen_by, matched=matched, network=frame_network)


def frame_network(exported_folder: str, device: str) -> VectorNetwork:
    """A video backbone as a network of images: each is a clip of one frame, and gives the class token."""
    folder = Path(exported_folder)
    info = read_video_info(folder)
    module = _OfFrames(load_video_backbone(folder).requires_grad_(False)).eval().to(_chosen(device))
    return VectorNetwork(module=module, image_size=info.sizes.image_size, mean=info.mean, std=info.std, interpolation="bicubic")


class _OfFrames(torch.nn.Module):
    """Images to class tokens."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, side, side) to (n, dim)."""
        cls: torch.Tensor = self.backbone(images.unsqueeze(2)).cls
        return cls


@torch.inference_mode()
def _matched(folder: Path, views: FixedClipViews) -> dict[str, float]:
    device = _chosen("auto")
    network = load_video_backbone(folder).to(device)
    both = [[network(view.to(device)).cls.float().cpu() for view in pair] for pair in views()]
    first, second = (torch.cat([pair[which] for pair in both]) for which in (0, 1))
    return {
        "matching": view_matching(first, second),
        "matching_chance": 1 / len(first),
        "effective_rank": effective_rank(torch.cat([first, second])),
    }


def _chosen(device: str) -> torch.device:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
