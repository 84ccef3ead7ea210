from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from evaluation.intervals import FEWEST_GROUPS, jackknife_interval
from evaluation.metrics import classification_difference, classification_scores, mean_difference, mean_scores


def accuracy_of(right: list[int], groups: list[int]) -> tuple[float, float, float, str]:
    found = classification_scores(
        np.zeros(len(right), np.int64),
        1 - np.array(right),
        np.array(groups),
        num_classes=2,
        names=("accuracy",),
        num_bootstrap=50,
        seed=0,
    )["accuracy"]
    return found.value, found.low, found.high, found.method


def test_all_right_is_no_interval_of_no_width() -> None:
    # 96 answers of 8 patients, all right: Wilson's lower end of 96 in 96
    value, low, high, method = accuracy_of([1] * 96, [i // 12 for i in range(96)])
    expected = binomtest(96, 96).proportion_ci(method="wilson")
    assert (value, high) == (1.0, 1.0)
    assert low == pytest.approx(expected.low, abs=1e-4)
    assert method == "Wilson and t, jackknife over 8 groups"


def test_answers_that_are_groups_of_their_own_have_wilsons_interval() -> None:
    _, low, high, _ = accuracy_of([1] * 80 + [0] * 20, list(range(100)))
    expected = binomtest(80, 100).proportion_ci(method="wilson")
    assert low == pytest.approx(expected.low, abs=0.004)  # t of 99 degrees for the normal quantile, and 99 items for 100
    assert high == pytest.approx(expected.high, abs=0.004)


def test_few_groups_have_wider_intervals_than_a_bootstrap_gives() -> None:
    values = np.repeat([0.9, 0.8, 0.85, 0.6, 0.9, 0.7], 10)
    found = mean_scores(values, np.repeat(np.arange(6), 10), num_bootstrap=50, seed=0)
    # mean .79167 and standard deviation .12007 of six: the standard error is .04902, and t of 5 degrees 2.5706
    assert found.value == pytest.approx(0.79167, abs=1e-5)
    assert found.high - found.low == pytest.approx(2 * 2.5706 * 0.04902, rel=0.08)
    assert found.value - found.low > found.high - found.value  # further from the end of the scale than towards it


def test_below_five_groups_there_is_none_and_the_method_says_so() -> None:
    groups = np.repeat(np.arange(FEWEST_GROUPS - 1), 5)
    found = mean_scores(np.linspace(0.2, 0.9, len(groups)), groups, num_bootstrap=50, seed=0)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.method == "no interval: below 5 groups"


def test_a_class_of_four_patients_withholds_the_means_over_classes_and_not_the_accuracy() -> None:
    labels = np.array([0] * 40 + [1] * 4)
    groups = np.arange(44)
    found = classification_scores(
        labels,
        labels.copy(),
        groups,
        num_classes=2,
        names=("accuracy", "balanced_accuracy", "macro_f1"),
        num_bootstrap=50,
        seed=0,
    )
    assert found["accuracy"].low > 0.9
    for name in ("balanced_accuracy", "macro_f1"):
        assert math.isnan(found[name].low)
        assert found[name].method == "no interval: below 5 groups, of which the rarest class has 4"


def test_a_mean_over_classes_that_are_all_right_is_as_uncertain_as_its_rarest_class_makes_it() -> None:
    labels = np.array([0] * 100 + [1] * 5)
    found = classification_scores(
        labels, labels.copy(), np.arange(105), num_classes=2, names=("accuracy", "balanced_accuracy"), num_bootstrap=50, seed=0
    )
    # 2^2 / (1/100 + 1/5) = 19 items' worth
    assert found["balanced_accuracy"].low == pytest.approx(binomtest(19, 19).proportion_ci(method="wilson").low, abs=0.002)
    assert found["accuracy"].low > 0.96


def test_the_interval_of_a_mean_does_not_depend_on_a_seed() -> None:
    values, groups = np.random.default_rng(0).random(200), np.arange(200) // 4
    assert mean_scores(values, groups, num_bootstrap=50, seed=0) == mean_scores(values, groups, num_bootstrap=90, seed=7)


@pytest.mark.parametrize("num_groups", [6, 60])
def test_a_paired_difference_is_narrower_than_the_difference_of_two_intervals(num_groups: int) -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(num_groups), 8)
    values = np.clip(0.7 + rng.normal(0, 0.1, num_groups)[groups] + rng.normal(0, 0.05, len(groups)), 0, 1)
    others = np.clip(values - 0.05 + rng.normal(0, 0.01, len(groups)), 0, 1)
    found = mean_difference(values, others, groups, num_bootstrap=500, seed=0)
    assert 0.03 < found.low < found.value < found.high < 0.07
    alone = mean_scores(values, groups, num_bootstrap=500, seed=0)
    assert found.high - found.low < 0.3 * (alone.high - alone.low)


def test_equal_predictions_do_not_differ() -> None:
    labels = np.tile([0, 1, 2], 20)
    found = classification_difference(
        labels, labels.copy(), labels.copy(), np.arange(60) // 3, num_classes=3, name="macro_f1", num_bootstrap=50, seed=0
    )
    assert found.value == 0.0
    assert found.low <= 0.0 <= found.high


def test_one_group_that_decides_the_rest_leaves_no_degrees_of_freedom() -> None:
    # 5 groups of 1, 1, 1, 1 and 96 items count as little more than one
    sizes = np.array([1.0, 1.0, 1.0, 1.0, 96.0])
    found = jackknife_interval(0.5, np.array([0.5, 0.51, 0.49, 0.5, 0.6]), sizes, num_items=100)
    assert found.high - found.low > 0.8
