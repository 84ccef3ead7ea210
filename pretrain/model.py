"""Student and teacher: a timm ViT with a mask token and the two projection heads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from timm.models import is_model_in_modules
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.sgd import sgd
from torch.utils.checkpoint import checkpoint

from pretrain.config import HeadConfig, ModelConfig, PretrainConfig
from pretrain.drop_path import KeptRows, StochasticDepthBlock
from pretrain.eva_block import give_blocks

__all__ = [
    "Backbone",
    "LastLayerInputs",
    "Network",
    "Outputs",
    "PrototypeHead",
    "backbone_args",
    "build_network",
    "forward_tokens",
    "num_blocks",
    "update_teacher",
]


Backbone = VisionTransformer | Eva
_DINOV3 = "vit_small_patch16_dinov3"
_STEM, _STEM_STRIDE = "_r_s16_p8_", 4  # timm's ViTs with ResNetV2's stem: a convolution, group norm and pooling before the patches


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
        self.last_layer.weight_g.requires_grad_(not config.norm_last_layer)

    def forward(self, features: Tensor) -> Tensor:
        """(rows, in_dim) to logits (rows, prototypes)."""
        logits: Tensor = self.last_layer(self.before_last(features))
        return logits

    def before_last(self, features: Tensor) -> Tensor:
        """(rows, in_dim) to the last layer's input (rows, bottleneck_dim), of length 1."""
        return F.normalize(self.mlp(features), dim=-1)


class Prototypes(nn.Module):
    """A weight-normed linear layer without bias: direction and length of each row are separate parameters."""

    def __init__(self, in_dim: int, num_prototypes: int) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(num_prototypes, 1))
        self.weight_v = nn.Parameter(nn.Linear(in_dim, num_prototypes, bias=False).weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Cosines of normalised rows with the prototypes, times the prototypes' lengths."""
        return F.linear(x, self.prototypes())

    def prototypes(self) -> Tensor:
        """(prototypes, in_dim), their lengths included."""
        return self.weight_g * F.normalize(self.weight_v, dim=1)


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
    patches: Tensor | None = None
    """(2 * images, patches, dim) of the global crops, before the head; None unless asked for"""


class LastLayerInputs(NamedTuple):
    """What the losses need of one forward pass where they make the logits themselves; rows as in `Outputs`."""

    features: Tensor
    """(2 * images, dim) class tokens of the global crops, before the head"""
    global_rows: Tensor
    """(2 * images, bottleneck_dim)"""
    patch_rows: Tensor
    """(hidden patches, bottleneck_dim)"""
    local_rows: Tensor | None
    """(local crops * images, bottleneck_dim)"""
    patches: Tensor | None = None
    """(2 * images, patches, dim) of the global crops, before the head; None unless asked for"""


class Network(nn.Module):
    """Backbone, mask token and heads; student and teacher are two of them."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.backbone = _create_backbone(config.model)
        dim = int(self.backbone.embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.dino_head = PrototypeHead(dim, config.dino_head)
        self.ibot_head = PrototypeHead(dim, config.ibot_head) if config.ibot_head else None
        self.activation_checkpointing = config.model.activation_checkpointing
        self.residual_dtype = torch.bfloat16 if config.train.residual == "bf16" else None

    def forward(
        self,
        global_crops: Tensor,
        masks: Tensor,
        hidden: Tensor,
        local_crops: Tensor | None = None,
        *,
        hide: bool,
        kept_global: KeptRows | None = None,
        kept_local: KeptRows | None = None,
        logits: bool = True,
        keep_patches: bool = False,
    ) -> Outputs | LastLayerInputs:
        """Run global crops and, for a student, local ones.

        Args:
            global_crops: (2 * images, 3, side, side).
            masks: (2 * images, patches), true at the patches whose logits are wanted.
            hidden: (hidden patches,), where `masks` flattened is true; their number is known before the GPU has seen the mask.
            local_crops: (local crops * images, 3, side, side).
            hide: replace the embeddings at `masks` by the mask token, as for the student; the teacher sees everything.
            kept_global: rows of the global crops on which residual branches run; None runs them on all.
            kept_local: the same of the local crops.
            logits: false stops before the heads' last layers.
            keep_patches: put out the patch tokens too.
        """
        recompute = self.activation_checkpointing and self.training
        mask_token = self.mask_token if hide else None
        residual = self.residual_dtype if torch.is_autocast_enabled(global_crops.device.type) else None
        features, patches = forward_tokens(
            self.backbone, global_crops, masks, mask_token, kept=kept_global, recompute=recompute, residual=residual
        )
        patch_head = self.dino_head if self.ibot_head is None else self.ibot_head
        made, of_class, of_patch = (
            (Outputs, self.dino_head, patch_head) if logits else (LastLayerInputs, self.dino_head.before_last, patch_head.before_last)
        )
        patch_rows = of_patch(patches.flatten(0, 1).index_select(0, hidden))
        kept = patches if keep_patches else None
        if local_crops is None:
            return made(features, of_class(features), patch_rows, None, kept)
        local_features, _ = forward_tokens(self.backbone, local_crops, kept=kept_local, recompute=recompute, residual=residual)
        rows = of_class(torch.cat((features, local_features)))
        return made(features, rows[: len(features)], patch_rows, rows[len(features) :], kept)


def backbone_args(config: ModelConfig) -> dict[str, Any]:
    """Arguments of `timm.create_model` that rebuild this backbone, all plain JSON values."""
    args: dict[str, Any] = {
        "img_size": config.img_size,
        "patch_size": config.patch_size // (_STEM_STRIDE if _STEM in config.architecture else 1),  # timm counts pixels after the stem
        "dynamic_img_size": True,
        "init_values": config.layer_scale_init or None,
    }
    if _is_eva(config):
        args["global_pool"] = "token"  # Eva's own default is the mean of all patches
    sizes = {"embed_dim": config.embed_dim, "depth": config.depth, "num_heads": config.num_heads}
    return args | {name: value for name, value in sizes.items() if value is not None}


def _is_eva(config: ModelConfig) -> bool:
    return is_model_in_modules(config.architecture, {"eva"})


@lru_cache(maxsize=8)
def num_blocks(config: ModelConfig) -> int:
    """Depth of the backbone, without allocating its weights."""
    if config.depth is not None:
        return config.depth
    with torch.device("meta"):
        return len(_create_backbone(config).blocks)


def _create_backbone(config: ModelConfig) -> Backbone:
    if _STEM in config.architecture and config.patch_size % _STEM_STRIDE:
        raise ValueError(
            f"patch_size {config.patch_size} is not a multiple of {_STEM_STRIDE}, the stride of {config.architecture!r}'s stem; give one"
        )
    options: dict[str, Any] = {} if _is_eva(config) else {"block_fn": StochasticDepthBlock}
    try:
        backbone = timm.create_model(config.architecture, num_classes=0, **options, **backbone_args(config))
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"timm cannot build {config.architecture!r} as configured ({error}); name one of its VisionTransformers"
        ) from error
    if not isinstance(backbone, VisionTransformer | Eva) or backbone.cls_token is None:
        raise ValueError(f"{config.architecture!r} is not a timm VisionTransformer with a class token; name one that is")
    if isinstance(backbone, Eva):
        if backbone.rope_mixed or not isinstance(backbone.fc_norm, nn.Identity):
            raise ValueError(f"{config.architecture!r} pools all its patches or has positions by block; name a DINOv3 such as {_DINOV3}")
        give_blocks(backbone)
    return backbone


def forward_tokens(
    backbone: Backbone,
    images: Tensor,
    masks: Tensor | None = None,
    mask_token: Tensor | None = None,
    *,
    kept: KeptRows | None = None,
    recompute: bool = False,
    residual: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Class and patch tokens after the final norm, with masked patches hidden before the position embedding is added.

    Args:
        backbone: with dynamic_img_size.
        images: (images, 3, height, width).
        masks: (images, patches), true where hidden.
        mask_token: (1, dim); None hides nothing.
        kept: images on which residual branches run; None runs them on all.
        recompute: recompute blocks in the backward pass instead of keeping activations.
        residual: of what blocks add to, from the position embedding to the final norm; None leaves it as it is.

    Returns:
        (images, dim) and (images, patches, dim).
    """
    x = backbone.patch_embed(images)
    if masks is not None and mask_token is not None:
        x = torch.where(masks.view(*x.shape[:3], 1), mask_token.to(x.dtype), x)
    positions: dict[str, Tensor] = {}
    if isinstance(backbone, Eva):
        x, rope = backbone._pos_embed(x)
        positions = {} if rope is None else {"rope": rope}
    else:
        x = backbone.patch_drop(backbone._pos_embed(x))
    x = backbone.norm_pre(x)
    x = x if residual is None else x.to(residual)
    for number, block in enumerate(backbone.blocks):
        arguments = positions if kept is None else positions | {"kept": kept.of_block(number)}
        x = checkpoint(block, x, **arguments, use_reentrant=False, preserve_rng_state=False) if recompute else block(x, **arguments)
    x = backbone.norm(x)
    return x[:, 0], x[:, backbone.num_prefix_tokens :]


def build_network(config: PretrainConfig, *, student: bool) -> Network:
    """A student, or a teacher in evaluation mode that takes no gradient."""
    network = Network(config)
    return network.train() if student else network.eval().requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: Sequence[Tensor], student: Sequence[Tensor], momentum: float, *, skip: Tensor) -> None:
    """Move the teacher to momentum * teacher + (1 - momentum) * student, in place and in one pass; shards stay where they are.

    It is one step of gradient descent at rate 1 - momentum on half the squared distance, whose fused form can be skipped on the device.

    Args:
        teacher: changed in place.
        student: in the same order.
        momentum: weight of the teacher.
        skip: () float32 on their device; 1 leaves the teacher as it is, 0 does not.
    """
    own, other = ([each.to_local() if isinstance(each, DTensor) else each.detach() for each in group] for group in (teacher, student))
    sgd(
        own,
        other,
        [None] * len(own),
        fused=True,
        found_inf=skip,
        lr=1 - momentum,
        weight_decay=1.0,
        maximize=True,
        momentum=0.0,
        dampening=0.0,
        nesterov=False,
    )
