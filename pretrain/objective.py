"""One step's loss from what student and teacher put out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pretrain.config import LossConfig, PretrainConfig
from pretrain.cross_entropy import PassOverRows, TeacherProbs
from pretrain.gram import WeightedGram
from pretrain.koleo import koleo_loss
from pretrain.losses import dino_loss, entropy, ibot_loss, sinkhorn_knopp, softmax_center, update_center
from pretrain.model import Outputs

__all__ = ["Centers", "Losses", "Targets", "batch_advice", "compute_losses", "make_targets", "terms"]

_NUM_GLOBAL = 2
_SMALL_BATCH = 256
"""images; below it, users saw flat losses with Sinkhorn centring (facebookresearch/dinov2, issue 298)"""
_PROTOTYPES_A_ROW = 16
"""of the reference: 65,536 prototypes for the 4,096 class tokens of 2,048 images"""


class Centers(NamedTuple):
    """Running centres of the teacher's two outputs; unused with Sinkhorn."""

    dino: Tensor
    """(1, prototypes)"""
    ibot: Tensor
    """(1, prototypes)"""


class Targets(NamedTuple):
    """What the student is to predict."""

    class_probs: TeacherProbs
    """probabilities of (2, images, prototypes), global crops in order"""
    patch_probs: TeacherProbs
    """probabilities of (hidden patches, prototypes)"""
    centers: Centers
    """after this batch"""


class Losses(NamedTuple):
    """The terms, weighted only in their total."""

    total: Tensor
    dino_global: Tensor
    dino_local: Tensor
    ibot: Tensor
    koleo: Tensor
    teacher_entropy: Tensor
    equal_images: Tensor
    """images of this rank that look equal to another, mean of both global crops"""
    gram: Tensor
    """distance from the anchor's similarities between patches; 0 in a run without one"""


def terms(losses: Losses, *, is_anchored: bool) -> dict[str, Tensor]:
    """The total and its terms by name, detached; a run without an anchor has no `gram`."""
    others = {"teacher_entropy", "equal_images"} if is_anchored else {"teacher_entropy", "equal_images", "gram"}
    return {name: value.detach() for name, value in losses._asdict().items() if name not in others}


@torch.no_grad()
def make_targets(teacher: Outputs, centers: Centers, config: LossConfig, temperature: float) -> Targets:
    """Balance the teacher's outputs over prototypes, with the centres from before this batch."""
    if config.centering == "sinkhorn":
        class_probs = sinkhorn_knopp(teacher.global_logits, temperature, num_iterations=config.sinkhorn_iterations)
        patch_probs = sinkhorn_knopp(teacher.patch_logits, temperature, num_iterations=config.sinkhorn_iterations)
    else:
        class_probs = softmax_center(teacher.global_logits, centers.dino, temperature)
        patch_probs = softmax_center(teacher.patch_logits, centers.ibot, temperature)
        centers = Centers(
            update_center(centers.dino, teacher.global_logits, momentum=config.center_momentum),
            update_center(centers.ibot, teacher.patch_logits, momentum=config.center_momentum),
        )
    return Targets(class_probs.views(_NUM_GLOBAL), patch_probs, centers)


def compute_losses(
    student: Outputs,
    targets: Targets,
    mask_weights: Tensor,
    config: LossConfig,
    *,
    moments: Tensor | None = None,
    compiled: PassOverRows | None = None,
    gram: WeightedGram | None = None,
) -> Losses:
    """The DINOv2 objective, and DINOv3's Gram anchoring if a distance is given.

    Both DINO terms are sums over their pairs of different views divided by the number of all such pairs, 2 + 2 * local crops; a global
    crop is supervised by the other one. KoLeo is the sum over the two global crops; `moments` are those of `koleo_loss`.
    """
    num_images = targets.class_probs.logits.shape[1]
    num_local = 0 if student.local_logits is None else len(student.local_logits) // num_images
    num_pairs = _NUM_GLOBAL * (_NUM_GLOBAL - 1) + _NUM_GLOBAL * num_local
    temperature = config.student_temperature

    crossed = targets.class_probs.flip().flatten()
    dino_global = dino_loss(student.global_logits, crossed, temperature=temperature, compiled=compiled) * _NUM_GLOBAL / num_pairs
    dino_local = dino_global.new_zeros(())
    if student.local_logits is not None:
        views = student.local_logits.view(num_local, num_images, -1)
        dino_local = dino_loss(views, targets.class_probs, temperature=temperature, compiled=compiled) / num_pairs
    ibot = ibot_loss(
        student.patch_logits,
        targets.patch_probs,
        mask_weights,
        _NUM_GLOBAL * num_images,
        temperature=temperature,
        compiled=compiled,
    )
    apart_ms = round(config.koleo_apart_s * 1000)
    spreads = [
        koleo_loss(crop, over=config.koleo_over, group_size=config.koleo_group, moments=moments, apart_ms=apart_ms)
        for crop in student.features.chunk(_NUM_GLOBAL)
    ]
    koleo = spreads[0].loss + spreads[1].loss

    total = config.dino_weight * (dino_global + dino_local) + config.ibot_weight * ibot + config.koleo_weight * koleo
    distance = total.new_zeros(())
    if gram is not None:
        distance = gram.distance
        total = total + gram.weight * distance
    return Losses(
        total,
        dino_global,
        dino_local,
        ibot,
        koleo,
        teacher_entropy=entropy(targets.class_probs.flatten().probs()),
        equal_images=(spreads[0].num_equal + spreads[1].num_equal) / _NUM_GLOBAL,
        gram=distance,
    )


def batch_advice(config: PretrainConfig) -> str | None:
    """What suits a batch too small for Sinkhorn centring, which spreads the few class tokens of each batch over all prototypes."""
    images, prototypes = config.train.batch_size, config.dino_head.num_prototypes
    crowded = _NUM_GLOBAL * images * _PROTOTYPES_A_ROW >= prototypes
    if config.loss.centering != "sinkhorn" or images >= _SMALL_BATCH or crowded:
        return None
    return (
        f"a batch of {images} images is small for Sinkhorn centring over {prototypes} prototypes: --loss.centering softmax averages over "
        "batches, as the recipe small does; --train.accumulate makes room for a larger batch"
    )
