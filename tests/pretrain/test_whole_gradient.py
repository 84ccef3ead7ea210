"""The gradient of the whole objective against the paper's formulas, written down literally in float64."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from pretrain.config import LossConfig, PretrainConfig
from pretrain.model import Network, Outputs
from pretrain.objective import Centers, compute_losses, make_targets

IMAGES, LOCALS, TEMPERATURE = 4, 2, 0.05


def sinkhorn(logits: Tensor) -> Tensor:
    """(rows, prototypes) to probabilities, as DINOv2's loop over the transposed matrix."""
    q = (logits / TEMPERATURE).exp().T
    num_prototypes, num_rows = q.shape
    q = q / q.sum()
    for _ in range(3):
        q = q / q.sum(dim=1, keepdim=True) / num_prototypes
        q = q / q.sum(dim=0, keepdim=True) / num_rows
    return (q * num_rows).T


def pair(student: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of one student view against one teacher view, mean over images."""
    return -(target * (student / 0.1).log_softmax(dim=-1)).sum(dim=-1).mean()


def koleo(features: Tensor) -> Tensor:
    unit = features / features.norm(dim=1, keepdim=True)
    logs = []
    for one in range(len(unit)):
        others = [other for other in range(len(unit)) if other != one]
        nearest = max(others, key=lambda other: float((unit[one] @ unit[other]).detach()))
        logs.append(((unit[one] - unit[nearest] + 1e-8).norm() + 1e-8).log())
    return -torch.stack(logs).mean()


def literal(student: Outputs, teacher: Outputs, centers: Centers, masks: Tensor, centering: str) -> Tensor:
    """Sums over pairs of different views divided by their number, 2 + 2 * local crops; iBOT over all 2 * images crops."""
    if centering == "sinkhorn":
        class_probs, patch_probs = sinkhorn(teacher.global_logits), sinkhorn(teacher.patch_logits)
    else:
        class_probs = ((teacher.global_logits - centers.dino) / TEMPERATURE).softmax(dim=-1)
        patch_probs = ((teacher.patch_logits - centers.ibot) / TEMPERATURE).softmax(dim=-1)
    targets, globals_ = class_probs.chunk(2), student.global_logits.chunk(2)
    assert student.local_logits is not None
    dino = pair(globals_[0], targets[1]) + pair(globals_[1], targets[0])
    for view in student.local_logits.chunk(LOCALS):
        dino = dino + pair(view, targets[0]) + pair(view, targets[1])
    ibot, row = dino.new_zeros(()), 0
    for crop in masks:
        count = int(crop.sum())
        for _ in range(count):
            ibot = ibot + pair(student.patch_logits[row : row + 1], patch_probs[row : row + 1]) / count
            row += 1
    spread = koleo(student.features[:IMAGES]) + koleo(student.features[IMAGES:])
    return dino / (2 + 2 * LOCALS) + ibot / (2 * IMAGES) + 0.1 * spread


@pytest.mark.parametrize(("centering", "shared"), [("sinkhorn", False), ("softmax", True)], ids=["long", "fast"])
def test_every_gradient_is_that_of_the_formulas_in_float64(
    centering: Literal["sinkhorn", "softmax"], shared: bool, micro: PretrainConfig
) -> None:
    torch.manual_seed(3)
    # LayerScale of 1e-5 would leave class tokens that differ by their rounding
    config = dataclasses.replace(
        micro, model=dataclasses.replace(micro.model, layer_scale_init=1.0), ibot_head=None if shared else micro.ibot_head
    )
    student, teacher = Network(config), Network(config)
    exact_student, exact_teacher = copy.deepcopy(student).double(), copy.deepcopy(teacher).double()
    masks = torch.zeros(2 * IMAGES, 16, dtype=torch.bool)
    masks[1, :5] = masks[4, 7:9] = masks[6, 15] = masks[7, ::2] = True
    hidden = masks.flatten().nonzero().squeeze(1)
    weights = (1 / masks.sum(dim=1, keepdim=True)).expand_as(masks)[masks]
    crops, local_crops = torch.randn(2 * IMAGES, 3, 32, 32), torch.randn(LOCALS * IMAGES, 3, 16, 16)
    prototypes = config.dino_head.num_prototypes
    centers = Centers(torch.randn(1, prototypes) / 10, torch.randn(1, prototypes) / 10)

    loss_config = LossConfig(centering=centering)
    with torch.no_grad():
        targets = make_targets(teacher(crops, masks, hidden, hide=False), centers, loss_config, TEMPERATURE)
    total = compute_losses(student(crops, masks, hidden, local_crops, hide=True), targets, weights, loss_config).total
    torch.autograd.backward(total)

    with torch.no_grad():
        expected_teacher = exact_teacher(crops.double(), masks, hidden, hide=False)
    expected_student = exact_student(crops.double(), masks, hidden, local_crops.double(), hide=True)
    exact_centers = Centers(centers.dino.double(), centers.ibot.double())
    expected = literal(expected_student, expected_teacher, exact_centers, masks, centering)
    torch.autograd.backward(expected)

    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    found = dict(student.named_parameters())
    for name, parameter in exact_student.named_parameters():
        assert parameter.grad is not None, name
        own = found[name].grad
        assert own is not None, name
        error = float((own.double() - parameter.grad).norm())
        assert math.isfinite(error), name
        assert error <= 1e-5 * float(parameter.grad.norm()), name  # 1.4e-6 at most when this was written
