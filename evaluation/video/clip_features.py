"""Frozen features of clips, computed once per (weights, data, transform, frames) and kept on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from evaluation.backbone import ModelRef, load_backbone
from evaluation.config import EvaluateConfig
from evaluation.images import stream
from evaluation.tasks import Item
from evaluation.video.clip_backbone import ClipBackbone, ImageClipBackbone, clip_tensor
from evaluation.video.clip_frames import ClipSource, clip_pixels
from warehouse.store import atomic_file, content_id

__all__ = [
    "DEFAULT_FRAMES",
    "cached_clip_features",
    "clip_device",
    "clip_sets",
    "extract_clip_features",
    "interpolation_of",
    "load_clip_backbone",
    "num_frames_of",
    "pooled_sets",
    "window_batches",
]

CLIP_FEATURES_VERSION = 1

DEFAULT_FRAMES = 8
"""of a clip of an image backbone, as Endo-FM's classification reads them"""

Floats = npt.NDArray[np.float32]


def load_clip_backbone(model: ModelRef, config: EvaluateConfig) -> ClipBackbone:
    """The video network that a model hands over, at its own image size, or its image backbone, which sees each frame alone.

    Raises:
        BackboneError: the exported folder is not usable.
    """
    if model.clip_network is None:
        return ImageClipBackbone(load_backbone(model, device=config.device, image_size=config.side, seed=config.seed))
    network: ClipBackbone = model.clip_network(config.device, model.weights, config.seed + model.draw)
    return network


def num_frames_of(backbone: ClipBackbone, config: EvaluateConfig) -> int:
    """Frames of a clip: those asked for, else the network's own."""
    return config.clip_frames or backbone.num_frames


def clip_device(name: str) -> torch.device:
    """The device that auto, cpu or cuda means here."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def clip_sets(backbone: ClipBackbone, clips: npt.NDArray[np.uint8], *, pooling: str, device: torch.device | str) -> dict[str, Floats]:
    """Feature sets of clips [B, T, H, W, 3] uint8 RGB, [B, D] each.

    Args:
        backbone: the network.
        clips: at the network's size.
        pooling: `mean` gives `last`, the clip's vector, and `last+mean` with the mean of all patches; `ordered` gives `ordered`, the mean
            patch of each frame one after another, so that a linear head can tell what comes first.
        device: that the network is on.
    """
    with torch.inference_mode():
        sets = pooled_sets(backbone, clip_tensor(clips, mean=backbone.mean, std=backbone.std, device=device), pooling=pooling)
    return {name: value.cpu().numpy() for name, value in sets.items()}


def pooled_sets(backbone: ClipBackbone, clips: torch.Tensor, *, pooling: str) -> dict[str, torch.Tensor]:
    """As `clip_sets`, of normalised clips (B, 3, T, H, W), as tensors with gradients."""
    vectors, patches = backbone.tokens(clips)
    frames = patches.float().mean((2, 3))
    if pooling == "ordered":
        return {"last": frames.flatten(1)}
    return {"last": vectors.float(), "last+mean": torch.cat([vectors.float(), frames.mean(1)], 1)}


def extract_clip_features(
    backbone: ClipBackbone, items: Sequence[Item], source: ClipSource, config: EvaluateConfig, *, num_windows: int
) -> dict[str, Floats]:
    """Feature sets of each window of each clip, [N * W, D] each; the windows of a clip stand together, in order.

    Raises:
        ClipError: a clip cannot be read.
    """
    device = clip_device(config.device)
    batches = [
        clip_sets(backbone, pixels, pooling=config.clip_pooling, device=device)
        for pixels in window_batches(backbone, items, source, config, num_windows=num_windows)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def window_batches(
    backbone: ClipBackbone, items: Sequence[Item], source: ClipSource, config: EvaluateConfig, *, num_windows: int
) -> Iterator[npt.NDArray[np.uint8]]:
    """Pixels of all windows of some clips at a time, [b * W, T, S, S, 3] RGB at the network's size, in order.

    Raises:
        ClipError: a clip cannot be read.
    """
    frames = num_frames_of(backbone, config)
    load: Any = partial(
        clip_pixels,
        source=source,
        size=backbone.image_size,
        interpolation=interpolation_of(backbone),
        num_frames=frames,
        num_windows=num_windows,
    )
    at_once = max(1, (config.batch_size or (64 if clip_device(config.device).type == "cuda" else 8)) // (frames * num_windows))
    for pixels in stream(load, items, batch_size=at_once, num_workers=config.num_workers):
        yield pixels.reshape(-1, *pixels.shape[2:])


def interpolation_of(backbone: ClipBackbone) -> str:
    """How frames are resized for a network: as its image backbone says, else bicubic."""
    return str(getattr(getattr(backbone, "backbone", None), "interpolation", "bicubic"))


def cached_clip_features(
    backbone: ClipBackbone,
    model: ModelRef,
    items: Sequence[Item],
    source: ClipSource,
    config: EvaluateConfig,
    *,
    data_id: str,
    cache_dir: Path,
    num_windows: int,
) -> dict[str, Floats]:
    """`extract_clip_features`, read from the cache where it was done before; a damaged or shorter cache file is made again."""
    path = cache_dir / f"{_key(backbone, model, config, data_id, num_windows)}.safetensors"
    if path.is_file():
        try:
            found = load_file(path)
        except SafetensorError:
            found = {}
        if found and all(len(values) == len(items) * num_windows for values in found.values()):
            return found
    features = extract_clip_features(backbone, items, source, config, num_windows=num_windows)
    with atomic_file(path) as file:
        file.write(save(features))
    return features


def _key(backbone: ClipBackbone, model: ModelRef, config: EvaluateConfig, data_id: str, num_windows: int) -> str:
    weights = f"random {config.seed + model.draw}" if model.weights == "random" else "trained"
    transform = [backbone.image_size, backbone.mean, backbone.std, num_frames_of(backbone, config), num_windows, config.clip_pooling]
    return content_id(["clips", CLIP_FEATURES_VERSION, model.model_id, weights, data_id, transform])
