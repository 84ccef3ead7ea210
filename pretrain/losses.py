"""The self-distillation losses: tensors in, tensors out, float32 throughout.

Statistics that DINOv2 takes over the whole batch (Sinkhorn's sums, the centre's mean, KoLeo's neighbours) are taken over all ranks
where a process group is initialised, so a step means the same on one worker and on many.
Sources: DINO (Caron et al. 2021), SwAV's Sinkhorn-Knopp (Caron et al. 2020), iBOT (Zhou et al. 2022), KoLeo (Sablayrolles et al. 2019),
DINOv2 (Oquab et al. 2023, section 4).
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.nn.functional import all_gather

__all__ = ["dino_loss", "entropy", "ibot_loss", "koleo_loss", "sinkhorn_knopp", "softmax_center", "update_center"]

_TINY = torch.finfo(torch.float32).tiny


def _all_reduce(tensor: Tensor, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
    """Reduce in place over every rank; nothing to do in a run of one process."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(tensor, op=op)
    return tensor


@torch.no_grad()
def sinkhorn_knopp(logits: Tensor, temperature: float, *, num_iterations: int = 3) -> Tensor:
    """Teacher probabilities that use all prototypes equally over the global batch.

    One maximum over all rows of all ranks is subtracted before the exponential: it cancels exactly, so that nothing
    overflows. A prototype that underflows everywhere keeps probability zero.

    Args:
        logits: (rows of this rank, prototypes); ranks may have different numbers of rows, also none.
        temperature: divides the logits.
        num_iterations: of normalising prototypes, then rows.

    Returns:
        (rows, prototypes), float32, each row summing to 1.
    """
    scaled = logits.float() / temperature
    highest = scaled.max() if scaled.numel() else scaled.new_tensor(float("-inf"))
    q = (scaled - _all_reduce(highest, dist.ReduceOp.MAX)).exp_()
    num_prototypes = q.shape[1]
    num_rows = _all_reduce(torch.tensor(float(q.shape[0]), device=q.device))
    q /= _all_reduce(q.sum())
    for _ in range(num_iterations):
        q /= (_all_reduce(q.sum(dim=0, keepdim=True)) * num_prototypes).clamp(min=_TINY)
        q /= (q.sum(dim=1, keepdim=True) * num_rows).clamp(min=_TINY)
    return q.mul_(num_rows)


@torch.no_grad()
def softmax_center(logits: Tensor, center: Tensor, temperature: float) -> Tensor:
    """Teacher probabilities sharpened by a temperature and balanced by a running centre.

    Args:
        logits: (rows, prototypes).
        center: (1, prototypes) or (prototypes,), from before this batch.
        temperature: divides the centred logits.

    Returns:
        (rows, prototypes), float32, each row summing to 1.
    """
    return F.softmax((logits.float() - center) / temperature, dim=-1)


@torch.no_grad()
def update_center(center: Tensor, logits: Tensor, *, momentum: float = 0.9) -> Tensor:
    """The centre after a batch: a moving average of the mean logits over the rows of all ranks.

    Args:
        center: (1, prototypes).
        logits: (rows of this rank, prototypes).
        momentum: weight of the old centre.
    """
    total = _all_reduce(logits.float().sum(dim=0, keepdim=True))
    num_rows = _all_reduce(torch.tensor(float(logits.shape[0]), device=logits.device))
    return center * momentum + total / num_rows.clamp(min=1) * (1 - momentum)


def dino_loss(student_logits: Tensor, teacher_probs: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of class tokens, averaged over images and summed over every pair of a student view and a teacher view.

    Args:
        student_logits: (images, prototypes), or (student views, images, prototypes).
        teacher_probs: (images, prototypes), or (teacher views, images, prototypes).
        temperature: of the student's softmax.
    """
    log_probs = F.log_softmax(student_logits.float() / temperature, dim=-1)
    num_images = student_logits.shape[-2]
    # the sum over pairs of views factors into one product of sums
    student = log_probs.sum(dim=0) if log_probs.ndim == 3 else log_probs
    teacher = teacher_probs.sum(dim=0) if teacher_probs.ndim == 3 else teacher_probs
    return -(teacher * student).sum() / num_images


def ibot_loss(student_logits: Tensor, teacher_probs: Tensor, weights: Tensor, num_images: int, *, temperature: float = 0.1) -> Tensor:
    """Cross-entropy of hidden patches: each masked crop's mean, summed and divided by the number of crops, masked or not.

    Args:
        student_logits: (hidden patches, prototypes).
        teacher_probs: (hidden patches, prototypes).
        weights: (hidden patches,), one over the number hidden in the patch's crop.
        num_images: global crops of this rank.
        temperature: of the student's softmax.
    """
    cross_entropy = -(teacher_probs * F.log_softmax(student_logits.float() / temperature, dim=-1)).sum(dim=-1)
    return (cross_entropy * weights).sum() / num_images


def koleo_loss(features: Tensor, *, eps: float = 1e-8) -> Tensor:
    """Kozachenko-Leonenko estimate of how little the features spread: minus the mean log distance to the nearest neighbour.

    Neighbours are looked for over all ranks, so the value does not depend on how a batch is dealt out. Two equal images are each
    other's neighbour at distance zero and dominate it: the data must be deduplicated.

    Args:
        features: (images of this rank, dim), before any head; normalised here.
        eps: keeps distance and logarithm finite.

    Returns:
        Mean over the images of this rank.
    """
    with torch.autocast(features.device.type, enabled=False):
        own = F.normalize(features.float(), dim=-1, eps=eps)
        rank, everyone = 0, own
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            rank, everyone = dist.get_rank(), torch.cat(all_gather(own))  # type: ignore[no-untyped-call]
        with torch.no_grad():
            similarity = own @ everyone.T
            similarity.diagonal(rank * len(own)).fill_(-1)  # no image is its own neighbour
            nearest = similarity.argmax(dim=1)
        distance = F.pairwise_distance(own, everyone[nearest], eps=eps)
        return -(distance + eps).log().mean()


@torch.no_grad()
def entropy(probs: Tensor) -> Tensor:
    """Mean entropy of the rows in nats: near zero when the teacher is certain, log(prototypes) when it says nothing."""
    return torch.special.entr(probs).sum(dim=-1).mean() if len(probs) else probs.new_zeros(())
