"""Tokens of a clip, and operations of a step on it: a multiplication and an addition are two.

Counted as for images (`pretrain.flops`): student forward and twice as much backward, teacher forward; norms, softmax, losses and the
optimiser do not count. Divided attention: over time, frames * frames for each place; over space, tokens * tokens for each frame.
"""

from __future__ import annotations

from typing import NamedTuple

from pretrain.config import HeadConfig, PretrainConfig
from pretrain.video.views import view_groups

__all__ = ["ClipTokens", "clip_flops", "clip_tokens", "hidden_clip_patches", "recomputed_clip_flops"]


class ClipTokens(NamedTuple):
    """Patch tokens of one clip's views."""

    student: int
    teacher: int


def clip_tokens(config: PretrainConfig) -> ClipTokens:
    """Patch tokens that a clip costs: of all views for the student, of the global ones for the teacher."""
    each = [views * frames * (side // config.model.patch_size) ** 2 for views, frames, side in view_groups(config)]
    return ClipTokens(sum(each), sum(each[:2]))


def hidden_clip_patches(config: PretrainConfig) -> float:
    """Patches of a clip that iBOT hides, on average; 0 without it."""
    if not config.loss.ibot_weight:
        return 0.0
    return clip_tokens(config).teacher * config.mask.probability * sum(config.mask.ratio) / 2


def clip_flops(config: PretrainConfig) -> float:
    """Operations of a step for each of its clips."""
    groups = view_groups(config)
    dim = config.model.embed_dim or 0
    views = 2 + config.augment.num_local
    student, teacher = _blocks(config, groups), _blocks(config, groups[:2])
    embedded = [2.0 * tokens * 3 * config.model.patch_size**2 * dim for tokens in clip_tokens(config)]
    patches = hidden_clip_patches(config) * _head(dim, config.ibot_head or config.dino_head)
    head = _head(dim, config.dino_head)
    return 3 * (student + views * head + patches) + 2 * embedded[0] + teacher + embedded[1] + 2 * head + patches


def recomputed_clip_flops(config: PretrainConfig) -> float:
    """Operations that activation checkpointing does a second time for each clip; 0 without it."""
    return _blocks(config, view_groups(config)) if config.model.activation_checkpointing else 0.0


def _blocks(config: PretrainConfig, groups: list[tuple[int, int, int]]) -> float:
    """Views of one clip forward through every block."""
    model, video = config.model, config.video
    assert video is not None
    dim, depth = model.embed_dim or 0, model.depth or 0
    prefix = 1 + video.num_registers
    total = 0.0
    for views, frames, side in groups:
        places = (side // model.patch_size) ** 2
        tokens, in_space = places * frames, (places + prefix) * frames
        over_time = 2 * tokens * 5 * dim**2 + 4 * places * frames**2 * dim  # query, key, value, projection and temporal_fc
        over_space = 2 * in_space * 4 * dim**2 + 4 * frames * (places + prefix) ** 2 * dim
        mlp = 2 * (tokens + prefix) * 2 * video.mlp_ratio * dim**2
        total += views * depth * (over_time + over_space + mlp)
    return total


def _head(dim: int, config: HeadConfig) -> float:
    hidden, bottleneck = config.hidden_dim, config.bottleneck_dim
    return 2.0 * (dim * hidden + hidden * hidden + hidden * bottleneck + bottleneck * config.num_prototypes)
