"""What a run would take: parameters, memory on each GPU by part, operations an image, images a second and hours; nothing is trained.

Memory is counted from what the step keeps when it is fullest: after the student's forward pass and the losses, before the backward pass.
With compiled blocks in bf16 the sum was within 4% of the peaks of seven measured steps (tests/pretrain/test_plan.py). Recomputed
activations, several GPUs and ViT-g were not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from pretrain.accumulation import check_accumulation
from pretrain.cards import LOADER_CLIPS_PER_S, LOADER_IMAGES_PER_S, Card, nearest_measured
from pretrain.chunked_loss import CHUNK_ELEMENTS
from pretrain.config import HeadConfig, PretrainConfig
from pretrain.flops import flops_of_sample, hidden_patches, recomputed_flops
from pretrain.micro_batches import is_chunked
from pretrain.model import Network
from pretrain.parallel import is_sharded
from pretrain.video.flops import recomputed_clip_flops
from pretrain.video.memory import clip_activation_bytes, clip_pixel_bytes
from pretrain.video.network import VideoNetwork

__all__ = [
    "Parameters",
    "PretrainPlan",
    "RecordedSpeed",
    "Remedies",
    "Speed",
    "count_parameters",
    "loader_rate",
    "memory_parts",
    "plan_pretraining",
    "student_sizes",
    "what_fits",
]

_FP32, _BF16 = 4, 2
_NUM_GLOBAL = 2
_CHUNK_COPIES, _WHOLE_PROTOTYPES = 6, 7
"""float32 copies of a chunk, and of all prototypes, that a chunked step holds at most (docs/pretraining.md); no GPU has measured them"""
_LIKE = 0.25
"""runs whose operations an image differ by less than this share reach a like share of the peak"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Of the student; the teacher has as many."""

    backbone: int
    block: int
    """of them in one block"""
    heads: int
    """of both projection heads, or of the shared one"""
    other: int
    """the mask token"""

    @property
    def total(self) -> int:
        """All of the student's."""
        return self.backbone + self.heads + self.other


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSpeed:
    """What a finished run of this lake reached."""

    run_id: str
    config: PretrainConfig
    device: str
    """as torch calls it"""
    num_workers: int
    images_per_s: float
    """of all workers together, median over the run's logged steps but the first"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Images a second and where the figure is from."""

    images_per_s: float
    """of all GPUs together"""
    mfu: float
    """model operations over the cards' peak"""
    source: str
    is_recorded: bool
    """by a run, with its loading of data"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainPlan:
    """Everything that the plan says."""

    parameters: Parameters
    memory: dict[str, int]
    """bytes on each GPU by part"""
    is_sharded: bool
    """FSDP2, which shares weights, gradients and optimiser state out"""
    flops_per_image: float
    speed: Speed
    loader_images_per_s: float
    """that the configured loader processes of all workers read and augment, by the measured rate of one"""
    hours: float
    """of all steps at the lesser of both speeds, validation and checkpoints aside"""


def plan_pretraining(config: PretrainConfig, card: Card, *, num_gpus: int, recorded: Sequence[RecordedSpeed] = ()) -> PretrainPlan:
    """Estimate a run.

    Args:
        config: whole recipe.
        card: each of the GPUs.
        num_gpus: one training process each; they share the batch.
        recorded: finished runs, the latest last; the latest like this one on such a card replaces the measured constants.

    Raises:
        ValueError: the GPUs cannot share the batch evenly.
    """
    if num_gpus < 1 or config.train.batch_size % num_gpus:
        raise ValueError(f"{num_gpus} GPUs cannot share batches of {config.train.batch_size} images evenly; give a divisor of it")
    network = student_sizes(config)
    parameters = count_parameters(network)
    images = config.train.batch_size
    flops = flops_of_sample(config, network)
    again = recomputed_clip_flops(config) if isinstance(network, VideoNetwork) else recomputed_flops(config, network) / images
    speed = _recorded_speed(recorded, card, num_gpus, flops) or _measured_speed(network, card, num_gpus, images, flops, again)
    loader = loader_rate(config) * max(1, config.train.num_loader_workers) * num_gpus
    limited = speed.images_per_s if speed.is_recorded else min(speed.images_per_s, loader)
    return PretrainPlan(
        parameters=parameters,
        memory=memory_parts(config, network, num_gpus=num_gpus),
        is_sharded=is_sharded(config.train, parameters.total, num_workers=num_gpus, on_gpu=True),
        flops_per_image=flops,
        speed=speed,
        loader_images_per_s=loader,
        hours=config.train.num_steps * images / limited / 3600,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """What would make a run fit; None where that alone does not."""

    num_gpus: int | None
    """fewest such cards that hold the batch as it is"""
    num_gpus_recomputing: int | None
    """fewest of them with activation checkpointing; None where it is on already"""
    batch_size: int | None
    """largest global batch of the cards that are given"""
    accumulate: int | None
    """fewest micro-batches on the cards that are given"""


def what_fits(config: PretrainConfig, card: Card, *, num_gpus: int) -> Remedies:
    """How the memory of such cards could hold the run."""
    network = student_sizes(config)

    def fewest(changed: PretrainConfig) -> int | None:
        shares = (number for number in range(1, changed.train.batch_size + 1) if changed.train.batch_size % number == 0)
        return next((number for number in shares if _total(changed, network, number) <= card.memory_gb * 1e9), None)

    recomputing = replace(config, model=replace(config.model, activation_checkpointing=True))
    # not a straight line: from some size on, logits are made in chunks
    sizes = range(config.train.batch_size // num_gpus, 1, -1)
    images = next((size for size in sizes if _total(_sized(config, size * num_gpus), network, num_gpus) <= card.memory_gb * 1e9), 0)
    return Remedies(
        num_gpus=fewest(config),
        num_gpus_recomputing=None if config.model.activation_checkpointing else fewest(recomputing),
        batch_size=images * num_gpus or None,
        accumulate=_fewest_micro_batches(config, network, card, num_gpus),
    )


def _fewest_micro_batches(config: PretrainConfig, network: Network | VideoNetwork, card: Card, num_gpus: int) -> int | None:
    for count in range(2, config.train.batch_size // num_gpus + 1):
        try:
            cut = replace(config, train=replace(config.train, accumulate=count))
            check_accumulation(cut, num_gpus)
        except ValueError:  # it does not divide the batch, or cuts KoLeo's groups
            continue
        if _total(cut, network, num_gpus) <= card.memory_gb * 1e9:
            return count
    return None


def _sized(config: PretrainConfig, batch_size: int) -> PretrainConfig:
    return replace(config, train=replace(config.train, batch_size=batch_size, accumulate=1))


def _total(config: PretrainConfig, network: Network | VideoNetwork, num_gpus: int) -> int:
    return sum(memory_parts(config, network, num_gpus=num_gpus).values())


def loader_rate(config: PretrainConfig) -> float:
    """Images, or clips, that one loader process reads and augments in a second."""
    return LOADER_IMAGES_PER_S if config.video is None else LOADER_CLIPS_PER_S


def student_sizes(config: PretrainConfig) -> Network | VideoNetwork:
    """The student without its weights, on the device `meta`; runs that differ in batch and length share it."""
    model = replace(config.model, drop_path_rate=0.0, activation_checkpointing=False)
    return _without_weights(replace(config, model=model, train=replace(config.train, batch_size=2, accumulate=1, num_steps=10**9)))


@lru_cache(maxsize=8)
def _without_weights(config: PretrainConfig) -> Network | VideoNetwork:
    with torch.device("meta"):
        return Network(config) if config.video is None else VideoNetwork(config)


def count_parameters(network: Network | VideoNetwork) -> Parameters:
    """Count a network's parameters by part."""
    heads = [head for head in (network.dino_head, network.ibot_head) if head is not None]
    return Parameters(
        backbone=_count(network.backbone),
        block=_count(network.backbone.blocks[0]),
        heads=sum(map(_count, heads)),
        other=0 if network.mask_token is None else network.mask_token.numel(),
    )


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def memory_parts(config: PretrainConfig, network: Network | VideoNetwork, *, num_gpus: int) -> dict[str, int]:
    """Bytes on each GPU when the step is fullest, by part.

    Args:
        config: whole recipe, with the global batch.
        network: the student, for its sizes; may be on the device `meta`.
        num_gpus: that share the batch and, if sharded, the state.
    """
    parameters = count_parameters(network)
    sharded = is_sharded(config.train, parameters.total, num_workers=num_gpus, on_gpu=True)
    share = num_gpus if sharded else 1
    images = config.train.batch_size / num_gpus
    parts = {
        "student's weights": _FP32 * parameters.total / share,
        "teacher's weights": _FP32 * parameters.total / share,
        "gradients": _FP32 * parameters.total / share,
        "AdamW's two moments": 2 * _FP32 * parameters.total / share,
    }
    if config.gram.weight:
        parts["anchor's weights"] = _FP32 * parameters.backbone
    if sharded:  # heads are of the root, which is whole while it runs; so are the block that runs and the next one
        parts["gathered by FSDP2"] = _BF16 * (parameters.heads + 2 * parameters.block) + _FP32 * parameters.heads
    elif num_gpus > 1:
        parts["buckets of DDP"] = _FP32 * parameters.total
    at_once = images / config.train.accumulate
    parts["activations of the backbone"] = at_once * _activation_bytes(config, network)
    parts["activations of the heads"] = at_once * _head_bytes(config)
    if is_chunked(config, num_gpus):
        heads = [config.dino_head, config.ibot_head or config.dino_head]
        parts["chunks of logits"] = _CHUNK_COPIES * _FP32 * CHUNK_ELEMENTS["cuda"]
        parts["whole prototypes"] = _WHOLE_PROTOTYPES * _FP32 * max(head.num_prototypes * head.bottleneck_dim for head in heads)
        parts["teacher's kept rows"] = images * _FP32 * sum(_rows(config)) * heads[1].bottleneck_dim
    else:
        parts["logits of class tokens"], parts["logits of patches"] = (images * each for each in _logit_bytes(config))
    parts["crops"] = at_once * _crop_bytes(config)
    return {name: round(number) for name, number in parts.items()}


def _activation_bytes(config: PretrainConfig, network: Network | VideoNetwork) -> float:
    """What an image's crops leave in the student's blocks for the backward pass.

    A token leaves in a block: both norms' inputs as the residual is and outputs, query, key, value, the attention's output and its
    projection, the hidden layer before and after its nonlinearity, and the MLP's output. Dropped branches leave nothing. Recomputed
    blocks leave their inputs, and one of them all of it.
    """
    model, backbone = config.model, network.backbone
    number = _FP32 if config.train.precision == "fp32" else _BF16
    residual = _BF16 if config.train.residual == "bf16" and number == _BF16 else _FP32
    if isinstance(network, VideoNetwork):
        return clip_activation_bytes(config, number=number, residual=residual)
    dim, prefix = int(backbone.embed_dim), int(backbone.num_prefix_tokens)
    tokens = sum(
        views * ((side // model.patch_size) ** 2 + prefix)
        for views, side in ((_NUM_GLOBAL, model.img_size), (config.augment.num_local, config.augment.local_size))
    )
    shapes = {name: parameter.shape for name, parameter in backbone.blocks[0].named_parameters()}
    # SwiGLU may have its two halves apart, as fc1_g and fc1_x
    before = sum(int(shape[0]) for name, shape in shapes.items() if name.startswith("mlp.fc1") and name.endswith("weight"))
    after = int(shapes["mlp.fc2.weight"][1])
    branches = dim * (2 * residual + 8 * number) + (before + after) * number
    whole = tokens * (1 - model.drop_path_rate) * branches
    depth = len(backbone.blocks)
    return depth * tokens * dim * residual + whole if model.activation_checkpointing else depth * whole


def _rows(config: PretrainConfig) -> tuple[int, float]:
    """Class tokens of an image's crops, and its hidden patches."""
    return _NUM_GLOBAL + config.augment.num_local, hidden_patches(config, config.train.batch_size) / config.train.batch_size


def _head_bytes(config: PretrainConfig) -> float:
    def row(head: HeadConfig) -> int:
        return 4 * head.hidden_dim + 3 * head.bottleneck_dim  # two hidden layers before and after GELU; normalised in fp32

    classes, patches = _rows(config)
    number = _FP32 if config.train.precision == "fp32" else _BF16
    return number * (classes * row(config.dino_head) + patches * row(config.ibot_head or config.dino_head))


def _logit_bytes(config: PretrainConfig) -> tuple[float, float]:
    """Of class tokens and of hidden patches: the teacher's, the student's, and the gradient of the student's."""
    number = _FP32 if config.train.precision == "fp32" else _BF16
    classes, patches = _rows(config)
    ibot = config.ibot_head or config.dino_head
    return (
        number * config.dino_head.num_prototypes * (_NUM_GLOBAL + 2 * classes),
        number * ibot.num_prototypes * 3 * patches,
    )


def _crop_bytes(config: PretrainConfig) -> float:
    """In fp32, normalised."""
    if config.video is not None:
        return clip_pixel_bytes(config)
    return 3 * _FP32 * (_NUM_GLOBAL * config.model.img_size**2 + config.augment.num_local * config.augment.local_size**2)


def _measured_speed(network: Network | VideoNetwork, card: Card, num_gpus: int, images: int, flops: float, again: float) -> Speed:
    """From the nearest measured step; operations that are done a second time take time and do not count as the model's."""
    batch = images / num_gpus
    near = nearest_measured(card, dim=int(network.backbone.embed_dim), batch_size=batch)
    mfu = near.mfu * flops / (flops + again)
    source = f"MFU of {near.mfu:.1%} measured on one {near.card}, width {near.dim}, {near.batch_size} images"
    source += f"; assumed for {card.name}" if near.card != card.name else ""
    source += f", of which {again / (flops + again):.0%} recomputes" if again else ""
    source += "; clips were not measured and count as images" if isinstance(network, VideoNetwork) else ""
    source += "; several GPUs were not measured and count as so many" if num_gpus > 1 else ""
    return Speed(images_per_s=mfu * card.bf16_tflops * 1e12 * num_gpus / flops, mfu=mfu, source=source, is_recorded=False)


def _recorded_speed(recorded: Sequence[RecordedSpeed], card: Card, num_gpus: int, flops: float) -> Speed | None:
    """From the latest run on such a card whose operations an image are like these; None without one."""
    for run in reversed(recorded):
        if not card.is_called(run.device):
            continue
        theirs = flops_of_sample(run.config, student_sizes(run.config))
        if abs(theirs / flops - 1) > _LIKE:
            continue
        mfu = run.images_per_s * theirs / (card.bf16_tflops * 1e12 * run.num_workers)
        source = f"recorded by {run.run_id}: {run.images_per_s:,.0f} images a second on {run.num_workers} x {run.device}, data included"
        return Speed(images_per_s=mfu * card.bf16_tflops * 1e12 * num_gpus / flops, mfu=mfu, source=source, is_recorded=True)
    return None
