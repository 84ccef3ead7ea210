from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, f1_score, jaccard_score

from evaluation.metrics import (
    CLASSIFICATION_METRICS,
    bootstrap_weights,
    classification_scores,
    confusion_matrices,
    dice,
    iou,
    mean_scores,
)

ALL = tuple(CLASSIFICATION_METRICS)


def test_four_grades_have_the_values_worked_out_by_hand() -> None:
    # grades 0 0 1 1 2 2 3 3 predicted as 0 1 1 1 2 3 3 0
    labels, predictions = np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.array([0, 1, 1, 1, 2, 3, 3, 0])
    confusion = confusion_matrices(labels, predictions, np.zeros(8, np.int64), num_classes=4)[0]
    assert confusion.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1]]
    assert CLASSIFICATION_METRICS["accuracy"](confusion) == pytest.approx(5 / 8)
    assert CLASSIFICATION_METRICS["balanced_accuracy"](confusion) == pytest.approx((0.5 + 1 + 0.5 + 0.5) / 4)
    assert CLASSIFICATION_METRICS["macro_f1"](confusion) == pytest.approx((0.5 + 0.8 + 2 / 3 + 0.5) / 4)
    # squared distances: 1 + 1 + 9 = 11 observed; by chance 2 (2*14 + 3*6 + 1*6 + 2*14) / 8 = 20
    assert CLASSIFICATION_METRICS["quadratic_weighted_kappa"](confusion) == pytest.approx(1 - 11 / 20)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=60))
def test_every_metric_equals_scikit_learns(num_classes: int, pairs: list[tuple[int, int]]) -> None:
    labels, predictions = (np.array(values) % num_classes for values in zip(*pairs, strict=True))
    confusion = confusion_matrices(labels, predictions, np.zeros(len(labels), np.int64), num_classes=num_classes)[0]
    got = {name: float(metric(confusion)) for name, metric in CLASSIFICATION_METRICS.items()}
    present = np.unique(labels)
    assert got["accuracy"] == pytest.approx(accuracy_score(labels, predictions))
    recalls = [float((predictions[labels == c] == c).mean()) for c in present]
    assert got["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    if set(predictions) <= set(labels):  # otherwise scikit-learn warns about it and gives the same
        assert got["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predictions))
    assert got["macro_f1"] == pytest.approx(f1_score(labels, predictions, average="macro"))
    if len(np.unique(np.concatenate([labels, predictions]))) > 1:
        expected = cohen_kappa_score(labels, predictions, weights="quadratic", labels=np.arange(num_classes))
        assert got["quadratic_weighted_kappa"] == pytest.approx(expected)
    else:
        assert math.isnan(got["quadratic_weighted_kappa"])


def test_dice_and_iou_of_half_overlapping_squares() -> None:
    predicted, mask = np.zeros((4, 8), bool), np.zeros((4, 8), bool)
    predicted[:, :4], mask[:, 2:6] = True, True
    assert dice(predicted, mask) == 0.5
    assert iou(predicted, mask) == pytest.approx(1 / 3)
    assert iou(predicted, mask) == pytest.approx(jaccard_score(mask.ravel(), predicted.ravel()))
    assert (dice(mask, mask), iou(mask, mask)) == (1.0, 1.0)


def test_empty_masks_are_agreement_and_a_missed_or_invented_one_is_not() -> None:
    empty, full = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    assert (dice(empty, empty), iou(empty, empty)) == (1.0, 1.0)
    assert (dice(full, empty), iou(empty, full)) == (0.0, 0.0)


def test_one_seed_gives_one_interval_and_another_seed_another() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    predictions = np.where(rng.random(200) < 0.7, labels, rng.integers(0, 3, 200))
    groups = np.arange(200) // 4  # fifty: enough for kappa's bootstrap

    def scores(seed: int) -> dict[str, object]:
        return dict(classification_scores(labels, predictions, groups, num_classes=3, names=ALL, num_bootstrap=500, seed=seed))

    assert scores(1) == scores(1)
    assert scores(1) != scores(2)


def test_replicates_draw_whole_groups() -> None:
    weights = bootstrap_weights(7, 100, seed=3)
    assert weights.shape == (100, 7)
    assert (weights.sum(1) == 7).all()
    assert (bootstrap_weights(7, 100, seed=3) == weights).all()


def test_an_interval_over_patients_is_wider_than_one_over_their_frames() -> None:
    # every patient is wholly right or wholly wrong, so 100 frames of 10 patients say no more than 10 frames
    labels = np.zeros(100, np.int64)
    predictions = np.repeat([0, 0, 0, 0, 0, 0, 1, 1, 1, 1], 10)

    def width(groups: np.ndarray) -> float:
        found = classification_scores(labels, predictions, groups, num_classes=2, names=("accuracy",), num_bootstrap=2000, seed=0)[
            "accuracy"
        ]
        assert found.value == 0.6
        assert found.low < 0.6 < found.high
        return found.high - found.low

    by_patient, by_frame = width(np.repeat(np.arange(10), 10)), width(np.arange(100))
    assert by_patient == pytest.approx(math.sqrt(10) * by_frame, rel=0.2)


def test_the_interval_of_a_mean_matches_the_normal_approximation() -> None:
    values = np.random.default_rng(5).normal(0.5, 0.1, 400)
    found = mean_scores(values, np.arange(400), num_bootstrap=4000, seed=0)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_a_single_group_has_no_interval() -> None:
    found = mean_scores(np.array([0.25, 0.75]), np.zeros(2, np.int64), num_bootstrap=100, seed=0)
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
