"""Student and teacher of clips: the video backbone with the heads that the image trainer has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pretrain.config import VIDEO_ARCHITECTURE, PretrainConfig
from pretrain.model import Outputs, PrototypeHead
from pretrain.video.model import INIT_STD, BlockDrops, DividedSpaceTimeViT, SpaceTimeSizes

__all__ = ["VideoNetwork", "build_video_network", "space_time_sizes"]


class VideoNetwork(nn.Module):
    """Backbone and heads; mask token and iBOT head only where the recipe has iBOT."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.backbone = DividedSpaceTimeViT(space_time_sizes(config))
        dim, hides = self.backbone.embed_dim, bool(config.loss.ibot_weight)
        self.mask_token = nn.Parameter(torch.zeros(1, dim)) if hides else None
        self.dino_head = PrototypeHead(dim, config.dino_head)
        self.ibot_head = PrototypeHead(dim, config.ibot_head) if hides and config.ibot_head else None
        self.activation_checkpointing = config.model.activation_checkpointing
        self.residual_dtype = torch.bfloat16 if config.train.residual == "bf16" else None

    def forward(
        self,
        groups: Sequence[Tensor],
        *,
        drops: Sequence[Sequence[BlockDrops]] | None = None,
        masks: Tensor | None = None,
        hidden: Sequence[Tensor] | None = None,
        hide: bool = False,
    ) -> Outputs:
        """Run views group by group, one pass of the backbone each, and one of the head for all.

        Args:
            groups: (views * clips, 3, frames, height, width) normalised, view after view; the two global views come first, alone.
            drops: of each group and block; None drops nothing.
            masks: (2 * clips, patches of a frame) bool, for all frames of a global view; None without iBOT.
            hidden: of each global view, where the masks over its frames, flattened, are true.
            hide: replace embeddings at `masks` by the mask token, as for the student.

        Returns:
            Features and logits of the global views, logits of the local ones, and of the patches at `hidden`.
        """
        recompute = self.activation_checkpointing and self.training
        residual = self.residual_dtype if torch.is_autocast_enabled(groups[0].device.type) else None
        features, patches = [], []
        for number, clips in enumerate(groups):
            own_masks, is_global = None, number < 2
            if masks is not None and is_global:
                size = self.backbone.sizes.patch_size
                own = masks.chunk(2)[number].view(len(clips), 1, clips.shape[3] // size, clips.shape[4] // size)
                own_masks = own.expand(-1, clips.shape[2], -1, -1)
            tokens = self.backbone(
                clips,
                masks=own_masks,
                mask_token=self.mask_token if hide else None,
                drops=None if drops is None else drops[number],
                recompute=recompute,
                residual=residual,
            )
            features.append(tokens.cls)
            if hidden is not None and is_global:
                patches.append(tokens.patches.flatten(0, 3).index_select(0, hidden[number]))
        logits = self.dino_head(torch.cat(features))
        whole = torch.cat(features[:2])
        if patches:
            patch_head = self.dino_head if self.ibot_head is None else self.ibot_head
            patch_logits = patch_head(torch.cat(patches))
        else:
            patch_logits = logits.new_empty((0, logits.shape[1]))
        local = logits[len(whole) :] if len(groups) > 2 else None
        return Outputs(whole, logits[: len(whole)], patch_logits, local)


def space_time_sizes(config: PretrainConfig) -> SpaceTimeSizes:
    """The sizes of a video recipe's backbone.

    Raises:
        ValueError: the recipe names another architecture, leaves a size out, or sizes do not fit each other.
    """
    model, video = config.model, config.video
    assert video is not None
    if model.architecture != VIDEO_ARCHITECTURE:
        raise ValueError(
            f"model.architecture is {model.architecture!r}, and a recipe on clips trains {VIDEO_ARCHITECTURE}; give that, or leave it"
        )
    if model.embed_dim is None or model.depth is None or model.num_heads is None:
        raise ValueError("a recipe on clips names model.embed_dim, model.depth and model.num_heads; give all three")
    return SpaceTimeSizes(
        embed_dim=model.embed_dim,
        depth=model.depth,
        num_heads=model.num_heads,
        mlp_ratio=video.mlp_ratio,
        patch_size=model.patch_size,
        image_size=model.img_size,
        num_frames=video.num_frames,
        num_registers=video.num_registers,
        layer_scale=bool(model.layer_scale_init),
        resampling=video.resampling,
    )


def build_video_network(config: PretrainConfig, *, student: bool) -> VideoNetwork:
    """A student, or a teacher in evaluation mode that takes no gradient; what the teacher drops is a matter of the draws it is given."""
    network = VideoNetwork(config)
    assert config.video is not None
    _widen(network.backbone, config.video.init_std / INIT_STD)
    if config.model.layer_scale_init:
        for name, parameter in network.backbone.named_parameters():
            if name.endswith("gamma"):
                nn.init.constant_(parameter, config.model.layer_scale_init)
    return network.train() if student else network.eval().requires_grad_(False)


def _widen(backbone: DividedSpaceTimeViT, times: float) -> None:
    """Scale the fresh weights of the linear layers; those that are zero stay so."""
    if times != 1:
        with torch.no_grad():
            for module in backbone.modules():
                if isinstance(module, nn.Linear):
                    module.weight.mul_(times)
