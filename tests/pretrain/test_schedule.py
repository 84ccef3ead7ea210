"""Reference values come from DINOv2's CosineScheduler (facebookresearch/dinov2, b8931f7)."""

from __future__ import annotations

import dataclasses
import math

import pytest

from pretrain.recipes import vitl14
from pretrain.schedule import cosine, settings_at


def test_learning_rate_of_vitl14_gives_the_reference_values() -> None:
    rates = {step: settings_at(step, vitl14()).lr for step in (0, 1, 50_000, 99_999, 100_000, 362_500, 624_999)}
    assert rates[0] == 0.0
    assert rates[1] == pytest.approx(3.46413626e-9, rel=1e-6)
    assert rates[50_000] == pytest.approx(1.7320681e-4, rel=1e-6)
    assert rates[99_999] == rates[100_000] == pytest.approx(3.4641016e-4, rel=1e-6)
    assert rates[362_500] == pytest.approx(1.7370508e-4, rel=1e-6)
    assert rates[624_999] == pytest.approx(1.0000000031e-6, rel=1e-9)


def test_weight_decay_momentum_and_temperature_of_vitl14_give_the_reference_values() -> None:
    assert settings_at(312_500, vitl14()).weight_decay == pytest.approx(0.12)
    assert settings_at(312_500, vitl14()).teacher_momentum == pytest.approx(0.997)
    assert settings_at(0, vitl14()).teacher_temperature == 0.04
    assert settings_at(18_750, vitl14()).teacher_temperature == pytest.approx(0.0550004, rel=1e-6)
    assert settings_at(37_499, vitl14()).teacher_temperature == pytest.approx(0.07)
    assert settings_at(600_000, vitl14()).teacher_temperature == pytest.approx(0.07)


def test_frozen_warming_and_cooling_steps_follow_one_another() -> None:
    values = [cosine(step, base=1, final=0, num_steps=10, warmup_steps=4, freeze_steps=2) for step in range(12)]
    assert values == pytest.approx([0, 0, 0, 1 / 3, 2 / 3, 1, 1, 0.853553, 0.5, 0.146447, 0, 0], abs=1e-6)


def test_prototypes_wait_for_the_rest_of_the_network() -> None:
    config = vitl14()
    assert settings_at(1249, config).last_layer_lr == 0.0
    assert settings_at(1250, config).last_layer_lr == settings_at(1250, config).lr > 0


def test_learning_rate_scales_with_the_square_root_of_the_batch() -> None:
    config = vitl14()
    quarter = dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=768))
    assert settings_at(100_000, quarter).lr == pytest.approx(settings_at(100_000, config).lr / 2)
    assert settings_at(100_000, config).lr == pytest.approx(2e-4 * math.sqrt(3))
