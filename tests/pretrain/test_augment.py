from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest

from pretrain import augment
from pretrain.augment import multi_crop
from pretrain.config import AugmentConfig

PLAIN = AugmentConfig(
    local_size=16, num_local=3, hflip_p=0, jitter_p=0, gray_p=0, blur_p=(0, 0, 0), solarize_p=0, global_scale=(1, 1), local_scale=(0.1, 0.2)
)


def image() -> np.ndarray:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    return np.stack([np.tile(ramp, (48, 1)), np.tile(ramp[::-1], (48, 1)), np.full((48, 64), 90, np.uint8)], axis=-1)


def test_crops_have_their_shapes_and_follow_from_the_generator() -> None:
    config = AugmentConfig(local_size=16, num_local=3)
    first = multi_crop(image(), config, global_size=32, rng=np.random.default_rng(4))
    again = multi_crop(image(), config, global_size=32, rng=np.random.default_rng(4))
    other = multi_crop(image(), config, global_size=32, rng=np.random.default_rng(5))
    assert first[0].shape == (2, 32, 32, 3)
    assert first[1].shape == (3, 16, 16, 3)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_no_local_crops_are_an_empty_array() -> None:
    config = dataclasses.replace(PLAIN, num_local=0)
    assert multi_crop(image(), config, global_size=32, rng=np.random.default_rng(0))[1].shape == (0, 16, 16, 3)


def test_a_flip_mirrors_the_ramp() -> None:
    for hflip_p, rises in ((0.0, True), (1.0, False)):
        crops, _ = multi_crop(image(), dataclasses.replace(PLAIN, hflip_p=hflip_p), global_size=32, rng=np.random.default_rng(0))
        assert (int(crops[0, 0, -1, 0]) > int(crops[0, 0, 0, 0])) == rises


def test_grey_crops_have_equal_channels() -> None:
    crops, _ = multi_crop(image(), dataclasses.replace(PLAIN, gray_p=1.0), global_size=32, rng=np.random.default_rng(0))
    assert np.array_equal(crops[..., 0], crops[..., 1])
    assert np.array_equal(crops[..., 0], crops[..., 2])


def test_solarisation_inverts_bright_pixels_of_the_second_global_crop_only() -> None:
    bright = np.full((48, 64, 3), 200, np.uint8)
    crops, local = multi_crop(bright, dataclasses.replace(PLAIN, solarize_p=1.0), global_size=32, rng=np.random.default_rng(0))
    assert (crops[0].max(), crops[1].max(), local.min()) == (200, 55, 200)


@pytest.mark.parametrize("turns", [0.1, -0.1])
def test_hue_turns_red_towards_its_neighbours_and_back(turns: float) -> None:
    config = dataclasses.replace(PLAIN, jitter_p=1.0, brightness=0, contrast=0, saturation=0, hue=abs(turns))
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 250
    hues = []
    for seed in range(30):
        crops, _ = multi_crop(red, config, global_size=8, rng=np.random.default_rng(seed))
        hues.append(int(cv2.cvtColor(crops[0, :1, :1], cv2.COLOR_RGB2HSV_FULL)[0, 0, 0]))
    signed = np.array([hue - 256 if hue > 128 else hue for hue in hues])
    assert signed.min() < -3
    assert signed.max() > 3
    assert np.abs(signed).max() <= 0.1 * 256 + 1


def test_blur_happens_as_often_as_the_released_weights_had_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[int] = []
    real = cv2.GaussianBlur

    def counted(pixels: Any, *args: Any) -> Any:
        sides.append(pixels.shape[0])
        return real(pixels, *args)

    monkeypatch.setattr(cv2, "GaussianBlur", counted)
    config = AugmentConfig(local_size=8, num_local=1)
    for seed in range(600):
        multi_crop(image(), config, global_size=16, rng=np.random.default_rng(seed))
    assert sides.count(16) / 600 == pytest.approx(0.0 + 0.9, abs=0.05)  # global crop 1 never, global crop 2 nearly always
    assert sides.count(8) / 600 == pytest.approx(0.5, abs=0.07)


def test_crop_areas_stay_in_their_range() -> None:
    rng = np.random.default_rng(0)
    boxes = [augment._crop_box(640, 480, (0.05, 0.32), rng) for _ in range(500)]
    shares = [(right - left) * (bottom - top) / (640 * 480) for left, top, right, bottom in boxes]
    assert min(shares) == pytest.approx(0.05, rel=0.2)
    assert max(shares) == pytest.approx(0.32, rel=0.1)
