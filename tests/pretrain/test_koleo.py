"""Pools of neighbours and the guard, on unit vectors of the plane."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pretrain.koleo import koleo_loss


def at_degrees(*degrees: float) -> Tensor:
    return torch.tensor([[math.cos(math.radians(angle)), math.sin(math.radians(angle))] for angle in degrees])


def chord(degrees: float) -> float:
    return 2 * math.sin(math.radians(degrees) / 2)


def test_a_group_hides_nearer_neighbours_outside_it() -> None:
    features = at_degrees(0, 60, 1, 91)
    apart, together = (float(koleo_loss(features, over="group", group_size=size).loss) for size in (2, 4))
    assert apart == pytest.approx(-(2 * math.log(chord(60)) + 2 * math.log(chord(90))) / 4, rel=1e-4)
    nearest = (chord(1), chord(31), chord(1), chord(31))
    assert together == pytest.approx(-sum(map(math.log, nearest)) / 4, rel=1e-4)


def test_an_image_alone_in_the_last_group_counts_as_zero() -> None:
    loss = koleo_loss(at_degrees(0, 60, 90), over="group", group_size=2).loss
    assert float(loss) == pytest.approx(-2 * math.log(chord(60)) / 3, rel=1e-4)


def test_six_equal_images_give_no_loss_and_no_gradient() -> None:
    features = torch.ones(6, 8).requires_grad_()
    found = koleo_loss(features, over="device")
    torch.autograd.backward(found.loss)
    assert (float(found.loss.detach()), int(found.num_equal)) == (0.0, 6)
    assert features.grad is not None
    assert float(features.grad.norm()) == 0.0


def test_beside_two_equal_images_others_keep_their_gradient() -> None:
    features = at_degrees(0, 1e-4, 30, 90).requires_grad_()
    found = koleo_loss(features, over="device")
    torch.autograd.backward(found.loss)
    assert int(found.num_equal) == 2
    assert float(found.loss.detach()) == pytest.approx(-(3 * math.log(chord(30)) + math.log(chord(60))) / 4, rel=1e-4)
    assert features.grad is not None
    assert 0.1 < float(features.grad.norm()) < 2
    plain = features.detach().clone().requires_grad_()
    torch.autograd.backward(koleo_loss(plain, over="device", guard_equal=False).loss)
    assert plain.grad is not None
    assert float(plain.grad.norm()) > 1e5


def test_frames_of_one_video_close_in_time_are_no_neighbours() -> None:
    features = at_degrees(0, 1, 30, 50)
    moments = torch.tensor([[0, 1000], [0, 5999], [0, 6000], [1, 2000]])
    found = koleo_loss(features, over="device", moments=moments, apart_ms=5000).loss
    # the first may not see the second, and the second and third not each other
    assert float(found) == pytest.approx(-(math.log(chord(30)) + math.log(chord(49)) + 2 * math.log(chord(20))) / 4, rel=1e-4)


def test_frames_of_unknown_videos_stay_neighbours() -> None:
    features, moments = at_degrees(0, 40), torch.tensor([[-1, 0], [-1, 0]])
    found = koleo_loss(features, over="device", moments=moments, apart_ms=5000).loss
    assert float(found) == pytest.approx(-math.log(chord(40)), rel=1e-4)


def test_features_that_are_not_numbers_are_not_hidden() -> None:
    assert math.isnan(float(koleo_loss(torch.full((3, 2), math.nan), over="device").loss))
