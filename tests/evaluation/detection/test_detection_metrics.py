"""Scores of detections against numbers worked out by hand and by pycocotools."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from evaluation.detection import Frame, average_precision, best_threshold, detection_scores, match_frames, operating_points
from evaluation.detection.metrics import box_iou, one_a_place

Corners = tuple[float, float, float, float]


def frame(
    truth: Sequence[Corners] = (),
    truth_labels: Sequence[int] = (),
    boxes: Sequence[Corners] = (),
    labels: Sequence[int] = (),
    scores: Sequence[float] = (),
    lesions: tuple[str, ...] = (),
) -> Frame:
    return Frame(
        truth=np.array(truth, np.float64).reshape(-1, 4),
        truth_labels=np.array(truth_labels or [0] * len(truth), np.int64),
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        labels=np.array(labels or [0] * len(boxes), np.int64),
        scores=np.array(scores, np.float64),
        lesions=lesions,
    )


CHECK_16B = [
    frame([(0, 0, 10, 10)], boxes=[(0, 0, 10, 10), (100, 100, 110, 110)], scores=[0.9, 0.8]),
    frame(boxes=[(0, 0, 10, 10)], scores=[0.6]),
]


def test_presence_is_no_localisation() -> None:
    (point,) = operating_points(CHECK_16B, [0.5])
    assert point.presence_f1 == pytest.approx(2 / 3)
    assert (point.true_positives.sum(), point.false_positives.sum(), point.missed.sum()) == (1, 2, 0)
    assert point.f1 == 0.5
    assert average_precision(match_frames(CHECK_16B, 0, ious=(0.5,)))[0] == pytest.approx(1.0)
    assert best_threshold(CHECK_16B) == (0.9, 1.0)


def test_average_precision_is_that_of_pycocotools() -> None:
    """Numbers of pycocotools 2.0: ties, a box of no height, empty frames, two true boxes for one place."""
    frames = [
        frame(
            [(0, 0, 10, 10), (20, 20, 40, 40)],
            [0, 1],
            [(0, 0, 10, 9), (21, 20, 40, 40), (0, 0, 10, 10), (60, 60, 70, 70)],
            [0, 1, 1, 0],
            [0.9, 0.8, 0.7, 0.6],
        ),
        frame(boxes=[(5, 5, 15, 15), (6, 6, 16, 16)], labels=[0, 1], scores=[0.75, 0.3]),
        frame([(0, 0, 30, 30), (10, 10, 40, 40)], [0, 0], [(5, 5, 35, 35), (5, 5, 35, 35), (0, 0, 30, 22)], [0, 0, 0], [0.8, 0.8, 0.5]),
        frame([(0, 0, 8, 8), (50, 50, 58, 58)], [1, 0]),
        frame([(10, 10, 20, 20)], [1], [(10, 10, 20, 14), (10, 10, 20, 10)], [1, 1], [0.95, 0.2]),
    ]
    first = average_precision(match_frames(frames, 0))
    assert first == pytest.approx([0.7524752475, *[0.3399339934] * 4, *[0.2574257426] * 4, 0.0])
    assert average_precision(match_frames(frames, 1)) == pytest.approx([0.1683168317] * 10)
    assert np.isnan(average_precision(match_frames(frames, 2))).all()
    scores = detection_scores(frames, np.arange(5), classes=("a", "b"), threshold=0.5, frames_per_s=None)
    assert scores["ap50"].value == pytest.approx((0.7524752475 + 0.1683168317) / 2)
    assert scores["ap/a"].value == pytest.approx(first.mean())


def test_a_true_box_is_taken_once_by_the_surest_prediction() -> None:
    twice = [frame([(0, 0, 10, 10)], boxes=[(0, 0, 10, 6), (0, 0, 10, 10)], scores=[0.9, 0.8])]
    matches = match_frames(twice, 0, ious=(0.5, 0.75))
    assert matches.is_hit.tolist() == [[True, False], [False, True]]


def test_predictions_of_two_classes_at_one_place_count_once_where_classes_do_not() -> None:
    both = [frame([(0, 0, 10, 10)], [1], [(0, 0, 10, 10), (0, 0, 10, 9)], [0, 1], [0.9, 0.8])]
    (point,) = operating_points(both, [0.5])
    assert (point.true_positives.tolist(), point.false_positives.tolist()) == ([1], [0])
    assert one_a_place(both[0].boxes, both[0].scores).tolist() == [0]


def test_lesions_and_alarms_of_videos() -> None:
    """Five videos of two frames each at 2 frames a second: five seconds."""
    hit, far = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
    frames = []
    for video in range(5):
        found = video < 3
        frames.append(frame([hit], boxes=[hit] if found else [far], scores=[0.9], lesions=(f"lesion {video}",)))
        frames.append(frame([hit], boxes=[far], scores=[0.2], lesions=(f"lesion {video}",)))
    scores = detection_scores(frames, np.repeat(np.arange(5), 2), classes=("polyp",), threshold=0.5, frames_per_s=2.0)
    assert scores["lesion_recall"].value == pytest.approx(0.6)
    assert scores["lesion_recall"].low < 0.6 < scores["lesion_recall"].high
    assert scores["false_positives_per_minute"].value == pytest.approx(2 / 5 * 60)
    assert scores["f1_iou50"].value == pytest.approx(2 * 3 / (2 * 3 + 2 + 7))
    assert scores["presence_f1"].value == scores["presence_f1_at_half"].value == pytest.approx(2 * 5 / (2 * 5 + 5))
    assert "false_positives_per_image" not in scores


def test_what_is_undefined_is_not_zero() -> None:
    nothing = [frame(), frame()]
    scores = detection_scores(nothing, np.arange(2), classes=("polyp",), threshold=0.5, frames_per_s=None)
    assert all(np.isnan(scores[name].value) for name in ("ap50", "ap", "f1_iou50", "presence_f1", "lesion_recall"))
    assert scores["false_positives_per_image"].value == 0
    assert best_threshold(nothing) == (0.5, 0.0)
    assert box_iou(np.zeros((1, 4)), np.array([[0.0, 0, 1, 1]])).tolist() == [[0.0]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_the_chosen_threshold_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(4):
        truth = np.concatenate([corner := rng.integers(0, 4, (2, 2)) * 10.0, corner + 10], 1)
        near = np.concatenate([truth, truth[:1] + rng.integers(0, 2, 4) * 10.0])
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        labels = np.zeros(3, np.int64)
        frames.append(Frame(truth=truth, truth_labels=labels[:2], boxes=near, labels=labels, scores=rng.integers(1, 9, 3) / 10))
    threshold, value = best_threshold(frames)
    others = operating_points(frames, [threshold, *np.arange(1, 10) / 10])
    assert others[0].f1 == pytest.approx(value)
    assert value >= max((point.f1 for point in others if not np.isnan(point.f1)), default=0) - 1e-12
