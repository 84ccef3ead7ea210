"""A video backbone on disk: `config.json` with its sizes and normalisation, and `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from pretrain.video.model import DividedSpaceTimeViT, SpaceTimeSizes
from warehouse.store import atomic_file, write_json

__all__ = ["ARCHITECTURE", "VideoBackboneInfo", "is_video_backbone", "load_video_backbone", "read_video_info", "write_video_backbone"]

ARCHITECTURE = "divided_space_time_vit"
"""In `config.json` under `architecture`."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoBackboneInfo:
    """What `config.json` says."""

    sizes: SpaceTimeSizes
    mean: tuple[float, float, float]
    """of each channel in [0, 1], taken from frames before the network"""
    std: tuple[float, float, float]
    """that they are divided by"""


def write_video_backbone(
    model: DividedSpaceTimeViT | SpaceTimeSizes,
    folder: Path,
    *,
    mean: Sequence[float] = _MEAN,
    std: Sequence[float] = _STD,
    weights: Mapping[str, Tensor] | None = None,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Write the folder that `load_video_backbone` reads.

    Args:
        model: the network; its sizes alone if `weights` are given.
        folder: is made.
        mean: of the frames it was trained on, by channel.
        std: the same.
        weights: its state, if not the model's own.
        card: further plain values for config.json's `endoforge` entry.
    """
    sizes = model.sizes if isinstance(model, DividedSpaceTimeViT) else model
    if weights is None:
        if not isinstance(model, DividedSpaceTimeViT):
            raise ValueError("sizes alone hold no weights; give weights or the network")
        weights = model.state_dict()
    described = {"architecture": ARCHITECTURE, **asdict(sizes), "mean": list(mean), "std": list(std), "endoforge": dict(card or {})}
    write_json(folder / "config.json", described)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic_file(folder / "model.safetensors") as file:
        file.write(safetensors.torch.save(tensors, metadata={"format": "pt"}))


def is_video_backbone(folder: Path) -> bool:
    """Whether a folder's `config.json` names this architecture."""
    try:
        return bool(json.loads((folder / "config.json").read_bytes()).get("architecture") == ARCHITECTURE)
    except (OSError, ValueError, AttributeError):
        return False


def read_video_info(folder: Path) -> VideoBackboneInfo:
    """Sizes and normalisation of an exported video backbone.

    Raises:
        ValueError: the folder has no config.json of a video backbone, or it lacks an entry.
    """
    try:
        told = json.loads((folder / "config.json").read_bytes())
        if told.get("architecture") != ARCHITECTURE:
            raise ValueError(
                f"{folder} has the architecture {told.get('architecture')!r}, and a video backbone has {ARCHITECTURE!r}; give a folder "
                "that a video recipe exported"
            )
        sizes = SpaceTimeSizes(**{one.name: told[one.name] for one in fields(SpaceTimeSizes)})
        mean, std = (_three(told[name]) for name in ("mean", "std"))
    except FileNotFoundError:
        raise ValueError(f"{folder} has no config.json; give a folder that a video recipe exported") from None
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"config.json of {folder} does not describe a video backbone ({error!r}); export it again") from None
    return VideoBackboneInfo(sizes=sizes, mean=mean, std=std)


def load_video_backbone(folder: Path) -> DividedSpaceTimeViT:
    """The network of a folder, on the CPU in evaluation mode.

    Raises:
        ValueError: a file is missing or damaged, or the tensors are not those of `config.json`.
    """
    model = DividedSpaceTimeViT(read_video_info(folder).sizes)
    try:
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        model.load_state_dict(weights)
    except (FileNotFoundError, safetensors.SafetensorError) as error:
        raise ValueError(f"{folder} has no whole model.safetensors ({error}); export the model again") from None
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise ValueError(f"the weights of {folder} do not fit its config.json ({first}); export the model again") from None
    return model.eval()


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
