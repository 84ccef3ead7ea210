"""The schedules of the specification: 100 epochs of 10 steps, a global batch of 12."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pretrain.config import PretrainConfig
from pretrain.recipes import recipe
from pretrain.schedule import settings_at


def _config() -> PretrainConfig:
    whole = recipe("endofm")
    return replace(whole, optim=replace(whole.optim, warmup_steps=100), train=replace(whole.train, num_steps=1000))


@pytest.mark.parametrize(
    ("step", "lr", "weight_decay", "momentum"),
    [
        (0, 0.0, 0.04, 0.996),
        (1, 2.36742424e-07, 0.0400008883, 0.99600001),
        (99, 2.34375e-05, 0.0486359271, 0.996095955),
        (100, 2.34375e-05, 0.0488098271, 0.996097887),
        (101, 2.34374317e-05, 0.0489854166, 0.996099838),
        (500, 1.41668655e-05, 0.22, 0.998),
        (550, 1.221875e-05, 0.248158204, 0.998312869),
        (999, 1.00006835e-06, 0.399999112, 0.99999999),
    ],
)
def test_rates_are_those_of_the_reference(step: int, lr: float, weight_decay: float, momentum: float) -> None:
    settings = settings_at(step, _config())
    assert (settings.lr, settings.weight_decay) == pytest.approx((lr, weight_decay), rel=1e-6)
    assert settings.teacher_momentum == pytest.approx(momentum, abs=1e-9)
    assert settings.teacher_temperature == 0.04
