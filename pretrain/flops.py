"""Floating-point operations of one training step, counted from the network's sizes: a multiplication and an addition are two.

Student: forward and twice as much backward over two global and all local crops, whose residual branches run on 1 - drop path rate of them;
pictures take no gradient, so patch embedding goes backward once. Teacher: forward over the two global crops; an anchor the same. Heads:
class tokens of all crops, and hidden patches. What activation checkpointing computes again does not count, nor do norms, softmax, losses
and the optimiser: this is the model's work, not the machine's. `tests/device` holds it to what torch counts.
"""

from __future__ import annotations

from pretrain.config import HeadConfig, PretrainConfig
from pretrain.model import Network
from pretrain.video.flops import clip_flops, hidden_clip_patches
from pretrain.video.network import VideoNetwork

__all__ = ["flops_of_sample", "hidden_patches", "recomputed_flops", "step_flops"]


def hidden_patches(config: PretrainConfig, batch_size: int) -> int:
    """How many patches the masks of so many images hide, at most: a few blocks find no place."""
    if config.video is not None:
        return round(batch_size * hidden_clip_patches(config))
    low, high = config.mask.ratio
    num_patches = (config.model.img_size // config.model.patch_size) ** 2
    return round(int(2 * batch_size * config.mask.probability) * (low + high) / 2 * num_patches)


def flops_of_sample(config: PretrainConfig, network: Network | VideoNetwork) -> float:
    """Operations of a step for each of its images, or of its clips; `network` for its sizes."""
    if isinstance(network, VideoNetwork):
        return clip_flops(config)
    images = config.train.batch_size
    return step_flops(config, network, hidden_patches=hidden_patches(config, images)) / images


def step_flops(config: PretrainConfig, network: Network, *, hidden_patches: int) -> float:
    """Operations of a step.

    Args:
        config: of the run, with its batch.
        network: the student or the teacher, for its sizes; may be on the device `meta`.
        hidden_patches: of the whole batch.
    """
    images, num_local, model = config.train.batch_size, config.augment.num_local, config.model
    dim = int(network.backbone.embed_dim)
    whole, local = _tokens(network, model.img_size), _tokens(network, config.augment.local_size)
    teacher_blocks, student_blocks = 2 * images * _blocks(network, whole), _student_blocks(config, network)
    embedding = 2 * images * _embedding(network, whole), num_local * images * _embedding(network, local)
    patches = hidden_patches * _head(dim, config.ibot_head or config.dino_head)
    class_head = images * _head(dim, config.dino_head)
    student = student_blocks + (2 + num_local) * class_head + patches
    teacher = teacher_blocks + embedding[0] + 2 * class_head + patches
    finer = _tokens(network, config.gram.scale * model.img_size)
    anchor = 2 * images * (_blocks(network, finer) + _embedding(network, finer)) if config.gram.weight else 0.0
    return 3 * student + 2 * sum(embedding) + teacher + anchor


def recomputed_flops(config: PretrainConfig, network: Network) -> float:
    """Operations of a step that activation checkpointing does a second time: the student's blocks forward; 0 without it."""
    return _student_blocks(config, network) if config.model.activation_checkpointing else 0.0


def _student_blocks(config: PretrainConfig, network: Network) -> float:
    """All crops of a batch forward through the student's blocks."""
    images, rate = config.train.batch_size, config.model.drop_path_rate
    whole, local = _tokens(network, config.model.img_size), _tokens(network, config.augment.local_size)
    return (1 - rate) * images * (2 * _blocks(network, whole) + config.augment.num_local * _blocks(network, local))


def _tokens(network: Network, side: int) -> int:
    """Patches of a crop."""
    patch_side = network.backbone.patch_embed.feat_ratio()
    assert isinstance(patch_side, int)
    return int((side // patch_side) ** 2)


def _blocks(network: Network, patches: int) -> float:
    """One crop through every block."""
    backbone = network.backbone
    tokens = patches + int(backbone.num_prefix_tokens)
    products = sum(p.numel() for name, p in backbone.blocks[0].named_parameters() if name.endswith("weight") and p.ndim == 2)
    return float(len(backbone.blocks) * (2 * tokens * products + 4 * tokens**2 * int(backbone.embed_dim)))


def _embedding(network: Network, patches: int) -> float:
    """One crop into patch tokens."""
    return 2.0 * patches * int(network.backbone.patch_embed.proj.weight.numel())


def _head(dim: int, config: HeadConfig) -> float:
    """One row through a projection head."""
    hidden, bottleneck = config.hidden_dim, config.bottleneck_dim
    return 2.0 * (dim * hidden + hidden * hidden + hidden * bottleneck + bottleneck * config.num_prototypes)
