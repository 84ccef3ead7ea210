"""Tissue in dye, narrow-band, fluorescence and grey colours is told from rooms by structure; tissue and rooms are the phantom's."""

import itertools
import math

import numpy as np
import pytest

from curation.filters.imaging_mode import find_imaging_mode, median_saturation, warm_share
from curation.filters.picture import shrink
from curation.filters.tissue_structure import NUM_FEATURES, room_evidence, room_scores, structure_features
from curation.phantom.patient import draw_patient
from curation.phantom.script import draw_script
from curation.phantom.video import render_frames
from curation.privacy.out_of_body import color_profile, out_of_body_scores

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
    features = [structure_features((frame @ LUMA).astype(np.uint8), ALL) for frame in frames]
    by_color = out_of_body_scores(profiles)
    scores = np.minimum(by_color, room_scores([room_evidence(each) for each in features], by_color <= 0.3, times_s=range(len(frames))))
    return np.asarray(scores > 0.3)


def by_structure(evidence: list[float], in_time: bool = True) -> np.ndarray:
    """Scores where no colour says anything, at one frame a second or of stills."""
    return room_scores(evidence, [False] * len(evidence), times_s=range(len(evidence)) if in_time else None)


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
        shown = [recolored(frame, color) if color else frame for frame in frames[1]]
        by_color = out_of_body_scores([color_profile(frame, ALL) for frame in shown]) > 0.3
        assert by_color.mean() >= 0.6
        assert verdicts(shown).tolist() == by_color.tolist()


def test_a_dark_picture_has_no_structure_and_no_voucher() -> None:
    features = structure_features(np.full((256, 256), 6, np.uint8), ALL)
    assert features.shape == (NUM_FEATURES,)
    assert np.isnan(features).all()
    assert by_structure([room_evidence(features)]).tolist() == [1.0]


def test_a_frame_is_judged_with_its_neighbours() -> None:
    tissue, room = [-4.0] * 12, [3.0] * 8
    assert by_structure([*tissue, 2.0, *tissue]).max() < 0.3, "one frame of tissue that looks like a room by chance"
    assert by_structure([*room, -4.0, *room]).min() > 0.3, "one view of a room that looks like tissue by chance"
    assert ((by_structure([*tissue, *room, *tissue]) > 0.3) == np.repeat([False, True, False], [12, 8, 12])).all()
    assert by_structure([*tissue, 8.0, *tissue])[12] > 0.3, "one view that looks like a room beyond doubt"


def test_stills_have_the_share_of_rooms_in_common_and_no_neighbours() -> None:
    evidence = [-4.0] * 12 + [3.0] * 4 + [1.0, -5.0, 1.0]
    order = np.random.default_rng(0).permutation(len(evidence))
    alone = by_structure(evidence, in_time=False)
    assert by_structure([evidence[each] for each in order], in_time=False) == pytest.approx(alone[order])
    assert by_structure(evidence)[13] > alone[13], "in a video its neighbours speak for it"
    assert by_structure([1.0] * 20, in_time=False).min() > 0.9
    assert by_structure([1.0, *[-4.0] * 19], in_time=False)[0] < 0.3


def test_a_frame_with_the_colours_of_tissue_never_speaks_for_a_room() -> None:
    evidence = [3.0] * 12 + [-1.5] * 3 + [3.0] * 12
    assert by_structure(evidence)[12:15].min() > 0.9
    colors = np.array([True] * 12 + [False] * 3 + [True] * 12)
    assert room_scores(evidence, colors, times_s=range(27))[12:15].max() < 0.3
    tissue = [-4.0] * 12 + [1.0] * 2 + [-4.0] * 12
    assert room_scores(tissue, np.array(tissue) < 0, times_s=range(26)) == pytest.approx(by_structure(tissue)), (
        "what speaks for tissue counts"
    )


def test_one_picture_is_a_room_only_on_evidence() -> None:
    assert by_structure([-1.5], in_time=False)[0] < 0.1
    assert by_structure([3.0], in_time=False)[0] > 0.7
    assert by_structure([]).tolist() == []


def test_the_probability_is_that_of_every_path_through_the_states() -> None:
    """Against a sum over all paths, whose share of rooms is the one that the scores themselves lead to."""
    evidence, confidence, even, stays = [2.0, -1.0, 0.5, -3.0, -2.0], 0.6, -1.75, 0.8
    scores = by_structure(evidence)
    share = scores.sum() / (len(evidence) + 1)
    weights = {}
    for path in itertools.product((False, True), repeat=len(evidence)):
        weight = 1.0
        for position, (state, log_odds) in enumerate(zip(path, evidence, strict=True)):
            drawn = share if state else 1 - share
            weight *= drawn if position == 0 else stays * (state == path[position - 1]) + (1 - stays) * drawn
            weight *= math.exp(confidence * (log_odds - even)) if state else 1.0
        weights[path] = weight
    expected = [sum(w for path, w in weights.items() if path[position]) / sum(weights.values()) for position in range(len(evidence))]
    assert scores == pytest.approx(expected, abs=0.02)  # ten rounds come near the share, not upon it


def test_frames_without_evidence_are_no_witnesses() -> None:
    scores = by_structure([math.nan] * 30 + [1.0] + [math.nan] * 30)
    assert scores[30] == pytest.approx(by_structure([1.0])[0])
    assert (np.delete(scores, 30) == 1).all()


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
    assert find_imaging_mode(profile, median_saturation(shown, ALL)) == mode
    if mode == "white_light":
        assert warm_share(profile) > 0.9


SPELLS = [-4.0] * 20 + [1.0] + [-4.0] * 20 + [-1.0] * 3 + [-4.0] * 20 + [2.0] * 8 + [-4.0] * 20 + [3.0, -1.0] * 6 + [-4.0] * 20


@pytest.mark.parametrize("rate", [2, 5, 25])
def test_a_view_sampled_several_times_a_second_counts_as_one(rate: int) -> None:
    once = by_structure(SPELLS)
    often = room_scores(np.repeat(SPELLS, rate), [False] * (rate * len(SPELLS)), times_s=np.arange(rate * len(SPELLS)) / rate)
    views, is_room = (often > 0.3).reshape(-1, rate), once > 0.3
    is_edge = np.isin(np.arange(len(once)), [np.flatnonzero(np.diff(is_room)) + side for side in (0, 1)])  # a change may fall within a view
    assert (is_room.sum(), is_edge.sum()) == (20, 8)
    assert (views == is_room[:, None])[~is_edge].all()


def test_a_burst_of_frames_says_no_more_than_one_of_them() -> None:
    """Steps are irregular: one view is sampled two hundred times within a fifth of a second."""
    evidence = [*SPELLS[:20], *[1.0] * 200, *SPELLS[:20]]
    times = [*range(20), *(20 + np.arange(200) / 1000), *range(21, 41)]
    burst = room_scores(evidence, [False] * len(evidence), times_s=times)
    assert burst.max() < 0.3
    assert burst[100] == pytest.approx(by_structure([*SPELLS[:20], 1.0, *SPELLS[:20]])[20], abs=0.03)
    assert by_structure(evidence)[120] > 0.3, "two hundred seconds of it are another matter"


def test_scores_are_probabilities_whatever_the_times() -> None:
    rng = np.random.default_rng(0)
    for times in (np.zeros(300), np.cumsum(rng.exponential(1e-6, 300)), np.cumsum(rng.pareto(0.5, 300))):
        for evidence in (rng.normal(0, 6, 300), np.full(300, 1e9), np.full(300, -1e9)):
            scores = room_scores(evidence, [False] * 300, times_s=times)
            assert ((scores >= 0) & (scores <= 1)).all()
