"""The self-distillation losses: tensors in, tensors out, float32 throughout.

Statistics of the whole batch (Sinkhorn's sums, the centre's mean) are taken over all ranks if a
process group is initialised. So a step is the same on one worker and on many. KoLeo has a file of
its own.
Sources: DINO (Caron et al. 2021), SwAV's Sinkhorn-Knopp (Caron et al. 2020), iBOT (Zhou et al.
2022), DINOv2 (Oquab et al. 2023, section 4).
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from pretrain.cross_entropy import PassOverRows, TeacherProbs, cross_entropy

__all__ = ["LEAST", "all_reduce", "dino_loss", "entropy", "ibot_loss", "sinkhorn_knopp", "softmax_center", "update_center"]

LEAST = 1e-30  # of a sum that is divided by: its inverse can be added up over all prototypes without overflow
_ROWS_AT_ONCE = 512


def all_reduce(tensor: Tensor, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
    """Reduce in place over every rank; nothing to do in a run of one process."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(tensor, op=op)
    return tensor


@torch.no_grad()
def sinkhorn_knopp(logits: Tensor, temperature: float, *, num_iterations: int = 3) -> TeacherProbs:
    """Teacher probabilities that use all prototypes equally over the global batch.

    Normalising columns and rows in turn multiplies each by a factor, so only the factors are iterated: two products of the exponentials
    with a vector each time. Every row has its maximum subtracted first, which its factor cancels, so that nothing overflows and no row
    vanishes. A prototype that underflows everywhere keeps probability zero.

    Args:
        logits: (rows of this rank, prototypes); ranks may have different numbers of rows, also none.
        temperature: divides the logits.
        num_iterations: of normalising prototypes, then rows.

    Returns:
        (rows, prototypes), each row summing to 1.
    """
    with torch.autocast(logits.device.type, enabled=False):
        shift = logits.amax(dim=1, keepdim=True).float() / temperature
        highest = shift.max() if shift.numel() else shift.new_full((), -torch.inf)
        exponentials = torch.add(-shift, logits, alpha=1 / temperature).exp_()
        row = (shift - all_reduce(highest, dist.ReduceOp.MAX)).exp_().squeeze(1)
        column = row.new_empty(logits.shape[1])
        for _ in range(num_iterations):
            column = all_reduce(exponentials.T @ row).clamp_(min=LEAST).reciprocal_()
            row = (exponentials @ column).clamp_(min=LEAST).reciprocal_()
        return TeacherProbs(logits, temperature, row.log_().unsqueeze(1) - shift, column.log_().unsqueeze(0))


@torch.no_grad()
def softmax_center(logits: Tensor, center: Tensor, temperature: float) -> TeacherProbs:
    """Teacher probabilities sharpened by a temperature and balanced by a running centre.

    Args:
        logits: (rows, prototypes).
        center: (1, prototypes) or (prototypes,), from before this batch.
        temperature: divides the centred logits.

    Returns:
        (rows, prototypes), each row summing to 1.
    """
    column = center.view(1, -1) / -temperature
    row = logits.new_empty((len(logits), 1), dtype=torch.float32)
    for start in range(0, len(logits), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        row[rows] = -torch.add(column, logits[rows], alpha=1 / temperature).logsumexp(dim=-1, keepdim=True)
    return TeacherProbs(logits, temperature, row, column)


@torch.no_grad()
def update_center(center: Tensor, logits: Tensor, *, momentum: float = 0.9) -> Tensor:
    """The centre after a batch: a moving average of the mean logits over the rows of all ranks.

    Args:
        center: (1, prototypes).
        logits: (rows of this rank, prototypes).
        momentum: weight of the old centre.
    """
    total = all_reduce(logits.sum(dim=0, keepdim=True, dtype=torch.float32))
    num_rows = all_reduce(torch.full((), float(logits.shape[0]), device=logits.device))
    return center * momentum + total / num_rows.clamp(min=1) * (1 - momentum)


def dino_loss(student_logits: Tensor, teacher: TeacherProbs, *, temperature: float = 0.1, compiled: PassOverRows | None = None) -> Tensor:
    """Cross-entropy of class tokens, averaged over images and summed over every pair of a student view and a teacher view.

    Args:
        student_logits: (images, prototypes), or (student views, images, prototypes).
        teacher: of (images, prototypes), or of (teacher views, images, prototypes).
        temperature: of the student's softmax.
        compiled: see `cross_entropy`.
    """
    num_images = student_logits.shape[-2]
    weights = torch.full((num_images,), 1 / num_images, device=student_logits.device)
    return cross_entropy(student_logits, teacher, weights, temperature=temperature, compiled=compiled)


def ibot_loss(
    student_logits: Tensor,
    teacher: TeacherProbs,
    weights: Tensor,
    num_images: int,
    *,
    temperature: float = 0.1,
    compiled: PassOverRows | None = None,
) -> Tensor:
    """Cross-entropy of hidden patches: each masked crop's mean, summed and divided by the number of crops, masked or not.

    Args:
        student_logits: (hidden patches, prototypes).
        teacher: of (hidden patches, prototypes).
        weights: (hidden patches,), one over the number hidden in the patch's crop.
        num_images: global crops of this rank.
        temperature: of the student's softmax.
        compiled: see `cross_entropy`.
    """
    return cross_entropy(student_logits, teacher, weights / num_images, temperature=temperature, compiled=compiled)


@torch.no_grad()
def entropy(probs: Tensor) -> Tensor:
    """Mean entropy of the rows in nats: near zero when the teacher is certain, log(prototypes) when it says nothing."""
    return torch.special.entr(probs).sum(dim=-1).mean() if len(probs) else probs.new_zeros(())
