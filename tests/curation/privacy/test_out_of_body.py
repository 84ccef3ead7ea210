import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from curation.filters.content_area import find_content_area
from curation.privacy.out_of_body import color_profile, out_of_body_scores, pixelated, smooth_scores

ALL = np.full((96, 128), 255, np.uint8)


def plain(rgb: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 6, (96, 128, 3))
    return np.clip(np.array(rgb) + noise, 0, 255).astype(np.uint8)


TISSUE = plain((190, 95, 75))


def room(seed: int = 0) -> np.ndarray:
    picture = plain((120, 120, 115), seed)
    picture[10:40, 10:60] = (60, 110, 160)
    picture[50:90, 70:110] = (70, 140, 90)
    picture[20:70, 100:125] = (235, 235, 230)
    return picture


def scores(frames: list[np.ndarray]) -> list[float]:
    return [round(float(score), 2) for score in out_of_body_scores([color_profile(frame, ALL) for frame in frames])]


def test_tissue_scores_zero_and_a_room_one() -> None:
    assert scores([TISSUE, TISSUE, room(), TISSUE]) == pytest.approx([0, 0, 1, 0], abs=0.02)


@pytest.mark.parametrize("cast", [(0.75, 1.0, 0.6), (0.8, 0.72, 1.15), (1.0, 1.0, 1.0)])
def test_a_colour_cast_of_the_whole_video_is_not_a_room(cast: tuple[float, float, float]) -> None:
    def seen(frame: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip(frame * np.array(cast), 0, 255).astype(np.uint8))

    given = scores([seen(plain((190, 110, 85), seed)) for seed in range(8)] + [seen(room())])
    assert max(given[:8]) < 0.1
    assert given[8] > 0.6


def test_a_video_that_is_all_room_is_all_out_of_body() -> None:
    assert min(scores([room(seed) for seed in range(5)])) > 0.9


def test_dark_frames_are_not_judged_and_take_the_score_of_their_surroundings() -> None:
    dark = np.full((96, 128, 3), 8, np.uint8)
    profiles = [color_profile(frame, ALL) for frame in [room(), room(1), dark, room(2), room(3)] + [TISSUE] * 9]
    raw = out_of_body_scores(profiles)
    assert np.isnan(raw[2])
    assert smooth_scores(raw, 5)[2] > 0.9


def test_smoothing_fills_gaps_and_never_lowers_a_score() -> None:
    assert smooth_scores([0, 0, 1, 0, 0, 0], 3).tolist() == [0, 0, 1, 0, 0, 0]
    assert smooth_scores([1, 1, 0, 1, 1, 0, 0], 3).tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert np.isnan(smooth_scores([float("nan")] * 3, 3)).all()
    assert smooth_scores([float("nan"), 0, float("nan")], 3).tolist() == [0, 0, 0]
    assert smooth_scores([], 3).tolist() == []


def test_pixels_outside_the_content_area_do_not_count() -> None:
    frame = TISSUE.copy()
    frame[:, :64] = room()[:, :64]
    mask = ALL.copy()
    mask[:, :64] = 0
    assert float(out_of_body_scores([color_profile(frame, mask)])[0]) == pytest.approx(0.0, abs=0.01)


def test_pixelated_keeps_the_size_and_few_colours() -> None:
    coarse = pixelated(np.random.default_rng(0).integers(0, 255, (96, 120, 3), np.uint8), 12)
    assert coarse.shape == (96, 120, 3)
    assert len(np.unique(coarse.reshape(-1, 3), axis=0)) <= 12 * 10


@pytest.mark.real_data
@pytest.mark.skipif("ENDOFORGE_REAL_DATA" not in os.environ, reason="ENDOFORGE_REAL_DATA is not set")
def test_no_real_frame_of_the_inside_is_taken_for_a_room() -> None:
    root = Path(os.environ["ENDOFORGE_REAL_DATA"])
    paths = sorted((root / "cvc_clinicdb" / "images").glob("*"))[::4] + sorted((root / "kvasir_seg" / "images").glob("*"))[::10]
    worst = 0.0
    for path in paths:
        rgb = cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
        area = find_content_area([rgb])
        crop = rgb[area.y : area.y + area.height, area.x : area.x + area.width]
        small = cv2.resize(crop, (256, round(256 * area.height / area.width)), interpolation=cv2.INTER_AREA)
        worst = max(worst, float(np.nan_to_num(out_of_body_scores([color_profile(small, np.full(small.shape[:2], 255, np.uint8))])[0])))
    assert worst < 0.3
