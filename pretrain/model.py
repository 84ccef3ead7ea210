"""Student and teacher: a timm ViT with a mask token and the two projection heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pretrain.config import HeadConfig, ModelConfig, PretrainConfig

__all__ = ["Network", "Outputs", "PrototypeHead", "backbone_args", "build_network", "forward_tokens", "update_teacher"]


class StochasticDepthBlock(Block):
    """timm's block whose residual branches run on a random subset of the images, which really saves their compute.

    A subset of max(int(images * (1 - rate)), 1) images is drawn for each branch and its residual is scaled by images / subset
    (DINOv2, section 5). timm's own DropPath computes every image and throws results away.
    """

    drop_path_rate: float = 0.0

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(images, tokens, dim) to the same shape."""
        if not self.training or self.drop_path_rate == 0:
            return super().forward(x, attn_mask=attn_mask, is_causal=is_causal)
        x = _residual_on_subset(x, lambda kept: self.ls1(self.attn(self.norm1(kept))), self.drop_path_rate)
        return _residual_on_subset(x, lambda kept: self.ls2(self.mlp(self.norm2(kept))), self.drop_path_rate)


def _residual_on_subset(x: Tensor, branch: Callable[[Tensor], Tensor], rate: float) -> Tensor:
    num_images = x.shape[0]
    num_kept = max(int(num_images * (1 - rate)), 1)
    kept = torch.randperm(num_images, device=x.device)[:num_kept]
    return x.index_add(0, kept, branch(x[kept]).to(x.dtype), alpha=num_images / num_kept)


class PrototypeHead(nn.Module):
    """DINO's head: three linear layers with GELU, L2 normalisation, then prototypes of learned length (Caron et al. 2021, appendix C).

    As in DINOv2's released code there is no batch norm and the prototypes' lengths, initially 1, are trained.
    """

    def __init__(self, in_dim: int, config: HeadConfig) -> None:
        super().__init__()
        hidden = config.hidden_dim
        self.mlp = nn.Sequential(
            nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, config.bottleneck_dim)
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = Prototypes(config.bottleneck_dim, config.num_prototypes)

    def forward(self, features: Tensor) -> Tensor:
        """(rows, in_dim) to logits (rows, prototypes)."""
        logits: Tensor = self.last_layer(F.normalize(self.mlp(features), dim=-1))
        return logits


class Prototypes(nn.Module):
    """A weight-normed linear layer without bias: direction and length of each row are separate parameters."""

    def __init__(self, in_dim: int, num_prototypes: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(num_prototypes, 1))
        self.weight_v = nn.Parameter(nn.Linear(in_dim, num_prototypes, bias=False).weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Cosines of normalised rows with the prototypes, times the prototypes' lengths."""
        return F.linear(x, self.weight_g * F.normalize(self.weight_v, dim=1))


class Outputs(NamedTuple):
    """What the losses need of one forward pass."""

    features: Tensor
    """(2 * images, dim) class tokens of the global crops, before the head"""
    global_logits: Tensor
    """(2 * images, prototypes)"""
    patch_logits: Tensor
    """(hidden patches, prototypes)"""
    local_logits: Tensor | None
    """(local crops * images, prototypes)"""


class Network(nn.Module):
    """Backbone, mask token and heads; student and teacher are two of them."""

    def __init__(self, config: PretrainConfig, *, drop_path_rate: float) -> None:
        super().__init__()
        self.backbone = _create_backbone(config.model, drop_path_rate)
        dim = int(self.backbone.embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.dino_head = PrototypeHead(dim, config.dino_head)
        self.ibot_head = PrototypeHead(dim, config.ibot_head) if config.ibot_head else None
        self.activation_checkpointing = config.model.activation_checkpointing

    def forward(self, global_crops: Tensor, masks: Tensor, local_crops: Tensor | None = None, *, hide: bool) -> Outputs:
        """Run global crops and, for a student, local ones.

        Args:
            global_crops: (2 * images, 3, side, side).
            masks: (2 * images, patches), true at the patches whose logits are wanted.
            local_crops: (local crops * images, 3, side, side).
            hide: replace the embeddings at `masks` by the mask token, as for the student; the teacher sees everything.
        """
        recompute = self.activation_checkpointing and self.training
        features, patches = forward_tokens(self.backbone, global_crops, masks, self.mask_token if hide else None, recompute=recompute)
        patch_head = self.dino_head if self.ibot_head is None else self.ibot_head
        local_logits = None
        if local_crops is not None:
            local_logits = self.dino_head(forward_tokens(self.backbone, local_crops, recompute=recompute)[0])
        return Outputs(features, self.dino_head(features), patch_head(patches[masks]), local_logits)


def backbone_args(config: ModelConfig) -> dict[str, Any]:
    """Arguments of `timm.create_model` that rebuild this backbone, all plain JSON values."""
    args: dict[str, Any] = {
        "img_size": config.img_size,
        "patch_size": config.patch_size,
        "dynamic_img_size": True,
        "init_values": config.layer_scale_init or None,
    }
    sizes = {"embed_dim": config.embed_dim, "depth": config.depth, "num_heads": config.num_heads}
    return args | {name: value for name, value in sizes.items() if value is not None}


def _create_backbone(config: ModelConfig, drop_path_rate: float) -> VisionTransformer:
    try:
        backbone = timm.create_model(config.architecture, num_classes=0, block_fn=StochasticDepthBlock, **backbone_args(config))
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"timm cannot build {config.architecture!r} as configured ({error}); name one of its VisionTransformers"
        ) from error
    if not isinstance(backbone, VisionTransformer) or backbone.cls_token is None:
        raise ValueError(f"{config.architecture!r} is not a timm VisionTransformer with a class token; name one that is")
    for block in backbone.blocks:
        assert isinstance(block, StochasticDepthBlock)
        block.drop_path_rate = drop_path_rate
    return backbone


def forward_tokens(
    backbone: VisionTransformer, images: Tensor, masks: Tensor | None = None, mask_token: Tensor | None = None, *, recompute: bool = False
) -> tuple[Tensor, Tensor]:
    """Class and patch tokens after the final norm, with masked patches hidden before the position embedding is added.

    Args:
        backbone: with dynamic_img_size.
        images: (images, 3, height, width).
        masks: (images, patches), true where hidden.
        mask_token: (1, dim); None hides nothing.
        recompute: recompute blocks in the backward pass instead of keeping activations.

    Returns:
        (images, dim) and (images, patches, dim).
    """
    x = backbone.patch_embed(images)
    if masks is not None and mask_token is not None:
        x = torch.where(masks.view(*x.shape[:3], 1), mask_token.to(x.dtype), x)
    x = backbone.norm_pre(backbone.patch_drop(backbone._pos_embed(x)))
    for block in backbone.blocks:
        x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
    x = backbone.norm(x)
    return x[:, 0], x[:, backbone.num_prefix_tokens :]


def build_network(config: PretrainConfig, *, student: bool) -> Network:
    """A student, or a teacher in evaluation mode that takes no gradient."""
    network = Network(config, drop_path_rate=config.model.drop_path_rate if student else 0.0)
    return network.train() if student else network.eval().requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: Sequence[Tensor], student: Sequence[Tensor], momentum: float) -> None:
    """Move the teacher to momentum * teacher + (1 - momentum) * student, in place; shards stay where they are."""
    torch._foreach_mul_(list(teacher), momentum)
    torch._foreach_add_(list(teacher), list(student), alpha=1 - momentum)
