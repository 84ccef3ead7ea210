"""Tissue in dye, narrow-band, fluorescence and grey colours is told from rooms by structure; tissue and rooms are the phantom's."""

import math

import numpy as np
import pytest

from curation.imaging_mode import imaging_mode, median_saturation, warm_share
from curation.phantom_patient import draw_patient
from curation.phantom_script import draw_script
from curation.phantom_video import render_frames
from curation.privacy import color_profile, out_of_body_scores
from curation.quality import shrink
from curation.tissue_structure import NUM_FEATURES, room_evidence, room_scores, structure_features

LUMA = np.array([0.299, 0.587, 0.114])
ALL = np.full((256, 256), 255, np.uint8)
COLORS = {"grey": (1.0, 1.0, 1.0), "green": (0.05, 0.9, 0.08), "teal": (0.6, 1.0, 1.1), "blue": (0.4, 0.7, 1.2)}


@pytest.fixture(scope="module")
def frames() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Phantom frames of a seed that no weight was fitted on: inside and outside, the square within the content area."""
    inside: list[np.ndarray] = []
    outside: list[np.ndarray] = []
    for patient in (1, 3):
        looks = draw_patient(patient, seed=21, size=320)
        script = draw_script(looks.seed, num_frames=24, fps=0.4, procedure="gastroscopy")
        left, top, right, bottom = looks.area.box
        side = int(0.68 * min(right - left, bottom - top))
        x, y = (left + right - side) // 2, (top + bottom - side) // 2
        for picture, truth in render_frames(looks, script, fps=0.4):
            crop = shrink(picture[y : y + side, x : x + side], 256, 256)
            if truth["out_of_body"]:
                outside.append(crop)
            elif not any(truth[flaw] for flaw in ("dark", "bright", "blur", "bubbles", "stool")):
                inside.append(crop)
    return inside, outside


def recolored(rgb: np.ndarray, color: tuple[float, float, float]) -> np.ndarray:
    return np.asarray(np.clip((rgb @ LUMA)[..., None] * np.array(color), 0, 255).astype(np.uint8))


def verdicts(frames: list[np.ndarray]) -> np.ndarray:
    profiles = [color_profile(frame, ALL) for frame in frames]
    evidence = [room_evidence(structure_features((frame @ LUMA).astype(np.uint8), ALL)) for frame in frames]
    modes = [imaging_mode(profile, median_saturation(frame, ALL)) for profile, frame in zip(profiles, frames, strict=True)]
    scores = np.minimum(out_of_body_scores(profiles), room_scores(evidence, modes))
    return np.asarray(scores > 0.3)


@pytest.mark.parametrize("color", COLORS.values(), ids=COLORS)
def test_tissue_of_another_colour_is_inside_and_was_not_by_colour(
    frames: tuple[list[np.ndarray], list[np.ndarray]], color: tuple[float, float, float]
) -> None:
    shown = [recolored(frame, color) for frame in frames[0]]
    assert len(shown) > 10
    assert (out_of_body_scores([color_profile(frame, ALL) for frame in shown]) > 0.3).mean() > 0.9
    assert verdicts(shown).mean() <= 0.1


def test_rooms_stay_outside_whatever_the_light(frames: tuple[list[np.ndarray], list[np.ndarray]]) -> None:
    assert len(frames[1]) >= 3
    for color in (None, *COLORS.values()):
        assert verdicts([recolored(frame, color) if color else frame for frame in frames[1]]).mean() >= 0.6


def test_a_dark_picture_has_no_structure_and_no_voucher() -> None:
    features = structure_features(np.full((256, 256), 6, np.uint8), ALL)
    assert features.shape == (NUM_FEATURES,)
    assert np.isnan(features).all()
    assert room_scores([room_evidence(features)], ["unknown"]).tolist() == [1.0]


def test_frames_of_one_mode_support_each_other_and_no_other_mode() -> None:
    alone = room_scores([1.0, math.nan], ["grey", "grey"])
    among_tissue = room_scores([1.0, -4.0, -4.0, -4.0], ["grey"] * 4)
    beside_tissue = room_scores([1.0, -4.0, -4.0, -4.0], ["grey", *["nbi"] * 3])
    assert alone[0] > 0.7
    assert alone[1] == 1.0
    assert among_tissue[0] < 0.3
    assert beside_tissue[0] == alone[0]


@pytest.mark.parametrize(
    ("rgb", "other", "mode"),
    [
        ((190, 95, 75), (190, 100, 70), "white_light"),
        ((120, 120, 120), (90, 90, 90), "grey"),
        ((110, 160, 115), (110, 160, 115), "nbi"),
        ((90, 160, 170), (90, 165, 130), "nbi"),
        ((190, 95, 75), (80, 110, 180), "dye"),
        ((8, 150, 6), (5, 70, 4), "fluorescence"),
        ((8, 8, 8), (8, 8, 8), "unknown"),
    ],
)
def test_the_mode_is_what_the_colours_suggest(rgb: tuple[int, int, int], other: tuple[int, int, int], mode: str) -> None:
    picture = np.random.default_rng(0).normal(0, 2, (256, 256, 3)) + np.array(rgb)
    picture[:, 128:] += np.array(other) - np.array(rgb)
    shown = np.clip(picture, 0, 255).astype(np.uint8)
    profile = color_profile(shown, ALL)
    assert imaging_mode(profile, median_saturation(shown, ALL)) == mode
    if mode == "white_light":
        assert warm_share(profile) > 0.9
