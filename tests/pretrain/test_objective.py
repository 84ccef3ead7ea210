from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.config import LossConfig
from pretrain.koleo import koleo_loss
from pretrain.losses import sinkhorn_knopp
from pretrain.model import Outputs
from pretrain.objective import Centers, batch_advice, compute_losses, make_targets
from pretrain.recipes import RECIPES, recipe

NUM_IMAGES, NUM_LOCAL, NUM_PROTOTYPES = 3, 8, 10


def outputs(seed: int, *, local: bool = True) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    return Outputs(
        features=torch.randn(2 * NUM_IMAGES, 6, generator=generator),
        global_logits=torch.randn(2 * NUM_IMAGES, NUM_PROTOTYPES, generator=generator),
        patch_logits=torch.randn(5, NUM_PROTOTYPES, generator=generator),
        local_logits=torch.randn(NUM_LOCAL * NUM_IMAGES, NUM_PROTOTYPES, generator=generator) if local else None,
    )


def zero_centers() -> Centers:
    return Centers(torch.zeros(1, NUM_PROTOTYPES), torch.zeros(1, NUM_PROTOTYPES))


def cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    return -(teacher * F.log_softmax(student / 0.1, dim=-1)).sum(-1).mean()


def test_terms_are_the_sums_over_pairs_of_views_that_the_paper_writes_down() -> None:
    student, teacher, weights = outputs(0), outputs(1), torch.full((5,), 0.5)
    targets = make_targets(teacher, zero_centers(), LossConfig(), 0.05)
    losses = compute_losses(student, targets, weights, LossConfig())
    probs = sinkhorn_knopp(teacher.global_logits, 0.05).probs()
    first, second = probs[:NUM_IMAGES], probs[NUM_IMAGES:]
    assert student.local_logits is not None
    pairs = [cross_entropy(view, crop) for view in student.local_logits.view(NUM_LOCAL, NUM_IMAGES, -1) for crop in (first, second)]
    assert len(pairs) == 16
    torch.testing.assert_close(losses.dino_local, sum(pairs, torch.zeros(())) / 18)
    crossed = cross_entropy(student.global_logits[:NUM_IMAGES], second) + cross_entropy(student.global_logits[NUM_IMAGES:], first)
    torch.testing.assert_close(losses.dino_global, crossed / 18)
    koleo = sum((koleo_loss(crop, over="device").loss for crop in student.features.chunk(2)), torch.zeros(()))
    torch.testing.assert_close(losses.koleo, koleo)
    torch.testing.assert_close(losses.total, losses.dino_local + losses.dino_global + losses.ibot + 0.1 * koleo)


def test_without_local_crops_a_global_crop_still_learns_from_the_other() -> None:
    losses = compute_losses(
        outputs(0, local=False), make_targets(outputs(1), zero_centers(), LossConfig(), 0.05), torch.full((5,), 0.5), LossConfig()
    )
    assert float(losses.dino_local) == 0.0
    assert float(losses.dino_global) > 0.0


def test_softmax_centring_uses_the_centre_from_before_the_batch() -> None:
    config = dataclasses.replace(LossConfig(), centering="softmax")
    teacher, centers = outputs(1), zero_centers()
    targets = make_targets(teacher, centers, config, 0.05)
    torch.testing.assert_close(targets.class_probs.flatten().probs(), F.softmax(teacher.global_logits / 0.05, dim=-1))
    torch.testing.assert_close(targets.centers.dino, teacher.global_logits.mean(0, keepdim=True) * 0.1)
    torch.testing.assert_close(targets.centers.ibot, teacher.patch_logits.mean(0, keepdim=True) * 0.1)
    assert float(centers.dino.abs().sum()) == 0.0


@pytest.mark.parametrize("term", ["dino_weight", "ibot_weight", "koleo_weight"])
def test_a_weight_of_zero_takes_its_term_out_of_the_total(term: str) -> None:
    targets = make_targets(outputs(1), zero_centers(), LossConfig(), 0.05)
    off = dataclasses.replace(LossConfig(dino_weight=0, ibot_weight=0, koleo_weight=0), **{term: 2.0})  # type: ignore[arg-type]
    losses = compute_losses(outputs(0), targets, torch.full((5,), 0.5), off)
    expected = {"dino_weight": losses.dino_global + losses.dino_local, "ibot_weight": losses.ibot, "koleo_weight": losses.koleo}[term]
    torch.testing.assert_close(losses.total, 2 * expected)


def test_a_small_batch_is_told_what_suits_it() -> None:
    assert {name: batch_advice(make()) for name, make in RECIPES.items()} == dict.fromkeys(RECIPES)
    long = recipe("vits14-long")
    few = dataclasses.replace(long, train=dataclasses.replace(long.train, batch_size=32))
    assert "a batch of 32 images is small for Sinkhorn centring over" in (batch_advice(few) or "")
    assert batch_advice(dataclasses.replace(few, loss=dataclasses.replace(few.loss, centering="softmax"))) is None
