"""Frames, crops and colours of views: the released form, to the lists of the specification, and the clean one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pretrain.config import PretrainConfig, VideoConfig
from pretrain.recipes import recipe
from pretrain.video.views import ViewDraw, _box, cut_view, draw_views, equally_spaced, frame_window, view_groups


def _global(num_frames: int) -> tuple[list[int], list[int]]:
    return list(equally_spaced(0, num_frames - 5, 8, num_frames)), list(equally_spaced(5, num_frames, 16, num_frames))


def test_frames_of_the_released_views_are_those_of_the_reference() -> None:
    first, second = _global(150)
    assert first == [0, 20, 41, 62, 82, 103, 124, 145]
    assert second == [5, 14, 24, 34, 43, 53, 63, 72, 82, 92, 101, 111, 121, 130, 140, 149]
    local = {count: list(equally_spaced(0, 18, count, 150)) for count in (2, 4, 8, 16)}
    assert local[2] == [0, 18]
    assert local[4] == [0, 6, 12, 18]
    assert local[8] == [0, 2, 5, 7, 10, 12, 15, 18]
    assert local[16] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 18]
    first, second = _global(20)
    assert first == [0, 2, 4, 6, 8, 10, 12, 15]
    assert second == [*range(5, 20), 19]
    assert _global(7) == ([0, 0, 0, 0, 1, 1, 1, 2], [5] * 8 + [6] * 8)
    assert _global(3) == ([0] * 8, [2] * 16)


@pytest.mark.parametrize("name", ["endofm", "endofm-clean"])
def test_all_views_lie_within_the_clip_and_have_their_frames(name: str) -> None:
    config = recipe(name)
    for number in range(20):
        rng, colours = np.random.default_rng(number), np.random.default_rng([number, 1])
        draws = draw_views(150, (320, 256), config, rng=rng, colour_rng=colours)
        assert [len(draw.frames) for draw in draws] == [8, 16, 2, 2, 4, 4, 8, 8, 16, 16]
        assert [draw.size for draw in draws] == [224, 224, *[96] * 8]
        for draw in draws:
            assert list(draw.frames) == sorted(draw.frames)
            assert 0 <= draw.frames[0] <= draw.frames[-1] < 150
            left, top, right, bottom = draw.box
            assert 0 <= left < right <= 320
            assert 0 <= top < bottom <= 256
        assert all(draw.frames[-1] - draw.frames[0] == 18 for draw in draws[2:])
        assert all(draw.frames[0] <= 131 for draw in draws[2:])


def test_a_window_of_256_frames_leaves_no_shorter_clip_and_cuts_longer_ones() -> None:
    video, rng = VideoConfig(), np.random.default_rng(0)
    assert frame_window(150, 30.0, video, rng=rng) == range(150)
    assert frame_window(256, 30.0, video, rng=rng) == range(256)
    windows = [frame_window(299, 30.0, video, rng=rng) for _ in range(200)]
    assert {len(window) for window in windows} <= {255, 256, 257}
    assert min(window.start for window in windows) <= 2
    assert max(window.stop for window in windows) == 299
    assert len(frame_window(150, 10.0, video, rng=rng)) in (85, 86, 87)


def _touching(width: int, height: int, scale: tuple[float, float], *, keep_last: bool) -> float:
    """Share of boxes that end at the right or the lower border."""
    rng = np.random.default_rng(1)
    boxes = [_box(width, height, scale, keep_last=keep_last, rng=rng) for _ in range(6000)]
    return float(np.mean([right == width or bottom == height for _, _, right, bottom in boxes]))


@pytest.mark.parametrize(
    ("size", "scale", "expected"), [((320, 256), (0.4, 1.0), 0.32), ((341, 256), (0.4, 1.0), 0.38), ((320, 256), (0.05, 0.4), 0.0)]
)
def test_of_ten_tries_the_last_is_cut_as_often_as_in_the_reference(
    size: tuple[int, int], scale: tuple[float, float], expected: float
) -> None:
    by_chance, last = (_touching(*size, scale, keep_last=keep) for keep in (False, True))
    assert (last - by_chance) / (1 - by_chance) == pytest.approx(expected, abs=0.03)


def _draw(**changes: object) -> ViewDraw:
    plain = ViewDraw(frames=(0,), box=(0, 0, 4, 4), size=4, hflip=False, vflip=False, jitter=(), gray=False)
    return plain._replace(**changes)  # type: ignore[arg-type]


def test_released_grey_takes_red_for_blue_and_clean_does_not() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    for weights, expected in (("bgr", 0.114), ("rgb", 0.299)):
        video = VideoConfig(gray_weights=weights)  # type: ignore[arg-type]
        assert cut_view([red], _draw(gray=True), video) == pytest.approx(np.full((1, 4, 4, 3), expected), abs=1e-6)


def test_released_brightness_leaves_the_range_and_clean_does_not() -> None:
    white = np.full((4, 4, 3), 255, np.uint8)
    bright = _draw(jitter=((0, 1.4),))
    assert cut_view([white], bright, VideoConfig()).max() == pytest.approx(1.4)
    assert cut_view([white], bright, VideoConfig(clamp=True)).max() == 1.0


def test_contrast_blends_each_frame_with_its_own_mean_grey() -> None:
    dark, light = np.full((4, 4, 3), 51, np.uint8), np.full((4, 4, 3), 204, np.uint8)
    light[:2] = 102
    view = cut_view([dark, light], _draw(frames=(0, 1), jitter=((1, 0.5),)), VideoConfig())
    assert view[0] == pytest.approx(np.full((4, 4, 3), 0.2), abs=1e-6)
    assert view[1, 0, 0, 0] == pytest.approx(0.5 * 0.4 + 0.5 * 0.6)
    assert view[1, 3, 0, 0] == pytest.approx(0.5 * 0.8 + 0.5 * 0.6)


def test_all_frames_of_a_view_are_cut_and_flipped_alike() -> None:
    frames = [np.arange(48, dtype=np.uint8).reshape(4, 4, 3) + shift for shift in (0, 100)]
    view = cut_view(frames, _draw(frames=(0, 1, 1), hflip=True), VideoConfig())
    assert view[0] == pytest.approx(frames[0][:, ::-1] / 255, abs=1e-6)
    assert view[1] == pytest.approx(view[0] + 100 / 255, abs=1e-6)
    assert view[2].tolist() == view[1].tolist()


def test_views_alike_are_run_together() -> None:
    config = recipe("endofm")
    expected = [(1, 8, 224), (1, 16, 224), (2, 2, 96), (2, 4, 96), (2, 8, 96), (2, 16, 96)]
    assert view_groups(config) == expected
    assert config.video is not None
    alike = replace(config, video=replace(config.video, global_frames=(8, 8)), augment=replace(config.augment, local_size=224))
    assert view_groups(alike)[:3] == [(1, 8, 224), (1, 8, 224), (2, 2, 224)]


def test_settings_that_views_of_clips_lack_are_refused() -> None:
    config: PretrainConfig = recipe("endofm")
    with pytest.raises(ValueError, match=r"no hue, blur or solarisation; give augment\.hue 0"):
        replace(config, augment=replace(config.augment, hue=0.1))
    with pytest.raises(ValueError, match=r"augment\.num_local is 4 and video\.local_frames has 8 numbers"):
        replace(config, augment=replace(config.augment, num_local=4))
    with pytest.raises(ValueError, match=r"train\.accumulate is 2"):
        replace(config, train=replace(config.train, accumulate=2))
    with pytest.raises(ValueError, match=r"train\.compile is on"):
        replace(config, train=replace(config.train, compile="on"))
    with pytest.raises(ValueError, match=r"data\.augment_on is device"):
        replace(config, data=replace(config.data, augment_on="device"))
