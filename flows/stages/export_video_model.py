"""A video backbone for other places: its files as its run left them, and what the card says of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain.video.export import load_video_backbone, read_video_info

__all__ = ["Described", "Files", "copied_heads", "video_parts"]

Files = list[tuple[str, str]]
"""names, and what they are"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a card says of a network."""

    num_parameters: int
    image_size: int
    patch_size: int
    dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_frames: int | None = None
    """of a clip; None for a network of images"""


def video_parts(backbone: Path, heads: Path | None, formats: Sequence[str], folder: Path) -> tuple[Described, Files, list[str]]:
    """Copy a video backbone to a folder; what the card says of it, its files, and lines on how to use them.

    Args:
        backbone: its folder.
        heads: file of the heads that it was trained with.
        formats: asked for; timm, the default, stands for the files as they are.
        folder: to write to.

    Raises:
        ValueError: another format is asked for, or the files are damaged.
    """
    if set(formats) != {"timm"}:
        raise ValueError(f"{backbone} holds a video network, which files for DINOv2 and ONNX cannot hold; leave --format out")
    module, info = load_video_backbone(backbone), read_video_info(backbone)
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(backbone / name, folder / name)
    files = [("model.safetensors", "video backbone"), ("config.json", "its sizes and normalisation"), *copied_heads(heads, folder)]
    described = Described(
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        image_size=info.sizes.image_size,
        patch_size=info.sizes.patch_size,
        dim=info.sizes.embed_dim,
        mean=info.mean,
        std=info.std,
        num_frames=info.sizes.num_frames,
    )
    code = ["from pathlib import Path", "", "from pretrain.video.export import load_video_backbone", ""]
    code += ['model = load_video_backbone(Path("FOLDER"))', "cls, patches = model(clips)  # (clips, 3, frames, height, width), normalised"]
    return described, files, ["With EndoForge; timm has no such network:", "", "```python", *code, "```", ""]


def copied_heads(heads: Path | None, folder: Path) -> Files:
    """Copy the heads that a backbone was trained with, if there are any."""
    if heads is None:
        return []
    shutil.copyfile(heads, folder / "heads.safetensors")
    return [("heads.safetensors", "DINO and iBOT heads of the teacher, and the mask token, to continue training")]
