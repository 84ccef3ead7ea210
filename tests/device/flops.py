"""Floating-point operations of one training step, counted from the network's sizes: a multiplication and an addition are two.

Student: forward and twice as much backward over two global and all local crops, whose residual branches run on 1 - drop path rate of
them. Teacher: forward over the two global crops. Heads: class tokens of all crops, and hidden patches. What activation checkpointing
computes again does not count, nor do norms, softmax, losses and the optimiser: this is the model's work, not the machine's.
"""

from __future__ import annotations

from pretrain.config import HeadConfig, PretrainConfig
from pretrain.model import Network


def step_flops(config: PretrainConfig, network: Network, *, hidden_patches: int) -> float:
    """Operations of a step.

    Args:
        config: of the run, with its batch.
        network: the student or the teacher, for its sizes.
        hidden_patches: of the whole batch.
    """
    images, augment, backbone = config.train.batch_size, config.augment, network.backbone
    share = 1 - config.model.drop_path_rate
    on_globals = 2 * images * _forward(network, config.model.img_size, share=1.0)
    student = 2 * images * _forward(network, config.model.img_size, share=share)
    if augment.num_local:
        student += augment.num_local * images * _forward(network, augment.local_size, share=share)
    dim, patch_head = backbone.embed_dim, config.ibot_head or config.dino_head
    patches = hidden_patches * _head(dim, patch_head)
    student += (2 + augment.num_local) * images * _head(dim, config.dino_head) + patches
    teacher = on_globals + 2 * images * _head(dim, config.dino_head) + patches
    return 3 * student + teacher


def _forward(network: Network, side: int, *, share: float) -> float:
    """One crop through the backbone."""
    backbone = network.backbone
    patch = int(backbone.patch_embed.patch_size[0])
    patches, dim = (side // patch) ** 2, int(backbone.embed_dim)
    tokens = patches + int(backbone.num_prefix_tokens)
    products = sum(p.numel() for name, p in backbone.blocks[0].named_parameters() if name.endswith("weight") and p.ndim == 2)
    block = 2 * tokens * products + 4 * tokens**2 * dim
    return share * len(backbone.blocks) * block + 2 * patches * 3 * patch**2 * dim


def _head(dim: int, config: HeadConfig) -> float:
    """One row through a projection head."""
    hidden, bottleneck = config.hidden_dim, config.bottleneck_dim
    return 2.0 * (dim * hidden + hidden * hidden + hidden * bottleneck + bottleneck * config.num_prototypes)
