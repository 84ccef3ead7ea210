from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, recall_score, roc_auc_score

from evaluation.clinical import (
    auprc,
    auroc,
    brier_score,
    calibration_error,
    detections,
    mask_precision_recall,
    ranking_interval,
    sensitivity_specificity,
    surface_distance_95,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40))
def test_ranking_measures_equal_scikit_learns_with_ties_and_without(rows: list[tuple[bool, int]]) -> None:
    positive, scores = np.array([p for p, _ in rows]), np.array([s / 7 for _, s in rows])
    if positive.all() or not positive.any():
        assert math.isnan(auroc(positive, scores))
    else:
        assert auroc(positive, scores) == pytest.approx(roc_auc_score(positive, scores))
    if positive.any():
        assert auprc(positive, scores) == pytest.approx(average_precision_score(positive, scores))
    else:
        assert math.isnan(auprc(positive, scores))


def test_sensitivity_and_specificity_of_each_class_equal_scikit_learns_recall() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 3, 300), np.arange(300) // 6
    predictions = np.where(rng.random(300) < 0.7, labels, rng.integers(0, 3, 300))
    found = sensitivity_specificity(labels, predictions, groups, num_classes=4)
    for c in range(3):
        sensitivity, specificity = found[c]
        assert sensitivity.value == pytest.approx(recall_score(labels == c, predictions == c))
        assert specificity.value == pytest.approx(recall_score(labels != c, predictions != c))
        assert sensitivity.low < sensitivity.value < sensitivity.high
    assert math.isnan(found[3][0].value)
    assert found[3][0].method == "no interval: no such item"
    assert found[3][1].high == pytest.approx(1.0)


def test_calibration_worked_out_by_hand() -> None:
    # two items at .9 of which one is right, two at .6 of which both are: (2 |.9 - .5| + 2 |.6 - 1|) / 4 = .4
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    labels = np.array([0, 1, 0, 1])
    assert calibration_error(labels, probabilities, num_bins=10) == pytest.approx(0.4)
    assert calibration_error(labels, np.eye(2)[labels]) == 0.0
    # both classes' squares: twice scikit-learn's, which counts one
    assert brier_score(labels, probabilities) == pytest.approx(2 * brier_score_loss(labels, probabilities[:, 1]))
    assert math.isnan(brier_score(labels[:0], probabilities[:0]))


def test_a_ranking_of_four_positive_patients_has_no_interval() -> None:
    positive = np.array([True] * 4 + [False] * 20)
    found = ranking_interval(auroc, positive, np.linspace(1, 0, 24), np.arange(24))
    assert found.value == 1.0
    assert math.isnan(found.low)
    assert found.method == "no interval: below 5 groups of one of the two classes"


def test_precision_recall_and_outline_distance_of_shifted_squares() -> None:
    mask, predicted = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    mask[5:15, 5:15], predicted[5:15, 8:18] = True, True
    assert mask_precision_recall(predicted, mask) == (0.7, 0.7)
    assert surface_distance_95(predicted, mask) == 3.0
    assert surface_distance_95(mask, mask) == 0.0
    empty = np.zeros_like(mask)
    assert mask_precision_recall(empty, empty) == (1.0, 1.0)
    assert mask_precision_recall(empty, mask) == (0.0, 0.0)
    assert surface_distance_95(empty, empty) == 0.0
    assert surface_distance_95(empty, mask) == pytest.approx(math.hypot(20, 30))


def test_two_lesions_of_which_one_is_missed_and_three_alarms_in_a_minute() -> None:
    marked = np.zeros(600, bool)  # a minute at 10 frames a second
    marked[[105, 106]] = True  # the first lesion
    marked[[200, 204, 209]] = True  # one alarm: less than a second apart
    marked[[300, 420]] = True
    found = detections(marked, [(100, 120), (500, 520)], frames_per_s=10)
    assert (found.lesion_recall, found.num_false_alarms, found.false_alarms_per_minute) == (0.5, 3, 3.0)
    assert found.frame_recall == pytest.approx(2 / 40)
    assert math.isnan(detections(marked, [], frames_per_s=10).lesion_recall)
    with pytest.raises(ValueError, match=r"lesion \(590, 610\) is not within the 600 frames"):
        detections(marked, [(590, 610)], frames_per_s=10)
