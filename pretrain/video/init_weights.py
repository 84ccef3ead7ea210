"""Initial weights of a run on clips: an image backbone inflated over time, or a video backbone, in the network of the run."""

from __future__ import annotations

from dataclasses import dataclass, replace

import safetensors.torch
import torch

from pretrain.config import VIDEO_ARCHITECTURE, PretrainConfig
from pretrain.init_layout import read_published
from pretrain.init_source import InitSource
from pretrain.init_weights import Fitted, InitReport, fit_heads
from pretrain.video.export import read_video_info
from pretrain.video.inflate import inflate, sizes_of
from pretrain.video.network import VideoNetwork, space_time_sizes

__all__ = ["InflationReport", "continued_on_clips", "fit_clip_init"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InflationReport(InitReport):
    """What became of each tensor of a network of clips."""

    inflated: tuple[str, ...]
    """names of the copies over time"""

    def sentence(self) -> str:
        """One line for a person."""
        resampled = f" ({'; '.join(self.resampled)})" if self.resampled else ""
        parts = [f"{self.loaded} tensors loaded{resampled}", f"{len(self.inflated)} inflated over time", f"{len(self.fresh)} fresh"]
        if self.left_out:
            parts.append(f"left out: {', '.join(self.left_out)}")
        return f"--init {self.told}: {', '.join(parts)}"


def fit_clip_init(source: InitSource, config: PretrainConfig) -> Fitted:
    """Read the weights of a source into the network of a run on clips.

    Raises:
        ValueError: as `read_published` and `inflate`.
    """
    weights = read_published(source.weights, told=source.told)
    found = inflate(weights.backbone, space_time_sizes(config), told=source.told)
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in VideoNetwork(config).state_dict().items()}
    tensors = {f"backbone.{name}": tensor for name, tensor in found.tensors.items()}
    own = {} if source.heads is None else safetensors.torch.load_file(source.heads)
    mask_token = own.pop("mask_token", weights.mask_token)
    if mask_token is not None and wanted.get("mask_token") == (1, mask_token.numel()):
        tensors["mask_token"] = mask_token.view(1, -1).float()
    heads, left_out = fit_heads(weights.heads | own, wanted)
    tensors |= heads
    report = InflationReport(
        told=source.told,
        files=source.sha256(),
        loaded=len(tensors) - len(found.inflated),
        resampled=found.resampled,
        fresh=tuple(sorted(wanted.keys() - tensors.keys())),
        left_out=(*weights.left_out, *left_out),
        inflated=tuple(f"backbone.{name}" for name in found.inflated),
    )
    return Fitted(tensors={name: tensor.contiguous() for name, tensor in tensors.items()}, report=report)


def continued_on_clips(config: PretrainConfig, source: InitSource) -> PretrainConfig:
    """A recipe on clips for weights to start from: their sizes and normalisation, and the recipe's rates, which are meant for such a start.

    Raises:
        ValueError: the file is no vision transformer with learned positions.
    """
    like, video = space_time_sizes(config), config.video
    assert video is not None
    if source.architecture == VIDEO_ARCHITECTURE:
        sizes = replace(read_video_info(source.weights.parent).sizes, image_size=like.image_size, num_frames=like.num_frames)
    else:
        sizes = sizes_of(
            read_published(source.weights, told=source.told).backbone, like, told=source.told, num_heads=source.model_args.get("num_heads")
        )
    patch = sizes.patch_size
    augment = replace(config.augment, local_size=max(1, round(config.augment.local_size / patch)) * patch)
    if source.mean is not None and source.std is not None and len(source.mean) == len(source.std) == 3:
        (red, green, blue), (wide_red, wide_green, wide_blue) = source.mean, source.std
        augment = replace(augment, mean=(red, green, blue), std=(wide_red, wide_green, wide_blue))
    model = replace(
        config.model,
        img_size=sizes.image_size,
        patch_size=patch,
        embed_dim=sizes.embed_dim,
        depth=sizes.depth,
        num_heads=sizes.num_heads,
        layer_scale_init=1e-5 if sizes.layer_scale else 0.0,
    )
    return replace(config, model=model, augment=augment, video=replace(video, num_registers=sizes.num_registers, mlp_ratio=sizes.mlp_ratio))
