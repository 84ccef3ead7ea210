"""What a clip's views leave on a GPU for the backward pass, counted as `pretrain.plan` counts images; no GPU has measured it."""

from __future__ import annotations

from pretrain.config import PretrainConfig
from pretrain.video.views import view_groups

__all__ = ["clip_activation_bytes", "clip_pixel_bytes"]

_FP32 = 4


def clip_activation_bytes(config: PretrainConfig, *, number: int, residual: int) -> float:
    """Bytes of the student's blocks for one clip.

    A token leaves in each of a block's three branches: the norm's input as the residual is, and its output; in both attentions query, key,
    value, the attention's output and its projection; in the MLP the hidden layer before and after its nonlinearity, and the output.

    Args:
        config: of the run.
        number: bytes of a number in a branch.
        residual: bytes of a number between blocks.
    """
    model, video = config.model, config.video
    assert video is not None
    dim, depth, prefix = model.embed_dim or 0, model.depth or 0, 1 + video.num_registers
    each = 0.0
    for views, frames, side in view_groups(config):
        places = (side // model.patch_size) ** 2
        over_time, over_space = places * frames, (places + prefix) * frames
        attention = dim * (residual + 6 * number)
        mlp = dim * (residual + (2 + 2 * video.mlp_ratio) * number)
        whole = over_time * attention + over_space * attention + (over_time + prefix) * mlp
        kept = (over_time + prefix) * dim * residual
        each += views * (depth * kept + whole if model.activation_checkpointing else depth * whole)
    return each


def clip_pixel_bytes(config: PretrainConfig) -> float:
    """Bytes of a clip's views in float32."""
    return float(sum(views * frames * 3 * side * side * _FP32 for views, frames, side in view_groups(config)))
