"""Paired differences: against the textbook's t interval, and what cannot be compared."""

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ttest_rel

from evaluation.compare import CompareError, paired_difference
from evaluation.metrics import mean_difference


def table(values: list[float], groups: list[str] | None = None) -> pa.Table:
    names = [f"{i}.png" for i in range(len(values))]
    box = pa.nulls(len(values), pa.list_(pa.int32()))
    return pa.table({"path": names, "box": box, "group": groups or names, "dice": values})


def classes(predictions: str, labels: str, groups: list[str] | None = None) -> pa.Table:
    plain = table([0.0] * len(labels), groups).drop_columns(["dice"])
    return plain.append_column("label", pa.array(list(labels))).append_column("prediction", pa.array(list(predictions)))


def test_the_difference_and_its_interval_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(60), rng.random(60)
    found = paired_difference(table(a.tolist()), table(b.tolist()), metric="dice")
    assert found.difference == mean_difference(a, b, np.arange(60), num_bootstrap=1000, seed=0)
    assert (found.first, found.second) == pytest.approx((a.mean(), b.mean()))
    expected = ttest_rel(a, b).confidence_interval(0.95)  # another method, so to a fifth of its width
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (expected.low, expected.high), abs=(expected.high - expected.low) / 5
    )
    assert not found.is_told_apart


def test_distances_have_a_signed_interval() -> None:
    rng = np.random.default_rng(2)
    a, b = 40 * rng.random(30), 60 * rng.random(30)
    first, second = (table([0.0] * 30).append_column("hd95", pa.array(each)) for each in (a, b))
    found = paired_difference(first, second, metric="hd95")
    expected = ttest_rel(a, b).confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx((expected.low, expected.high))
    assert found.difference.low < 0


def test_rows_are_joined_by_image_and_not_by_place() -> None:
    a = table([0.1, 0.5, 0.9, 0.2, 0.4])
    shuffled = table([0.1, 0.5, 0.9, 0.2, 0.4]).take([3, 1, 4, 0, 2])
    assert paired_difference(a, shuffled, metric="dice").difference.value == 0


def test_accuracy_by_patients_and_none_below_five() -> None:
    groups = [patient for patient in "pqrstuvw" for _ in range(2)]
    labels = "aabbaabbaabbaabb"
    first, second = classes(labels, labels, groups), classes("abbbaabaaabbaaba", labels, groups)
    found = paired_difference(first, second, metric="accuracy", classes=["a", "b"])
    assert (found.first, found.second, found.num_groups) == (1.0, 0.8125, 8)
    assert found.difference.low < 0.1875 < found.difference.high
    few = paired_difference(first.slice(0, 8), second.slice(0, 8), metric="accuracy", classes=["a", "b"])
    assert math.isnan(few.difference.low)
    assert not few.is_told_apart


def test_other_images_labels_or_metrics_are_refused() -> None:
    with pytest.raises(CompareError, match="not of the same ones"):
        paired_difference(table([0.1, 0.2]), table([0.1]), metric="dice")
    with pytest.raises(CompareError, match="labels of the two evaluations differ"):
        paired_difference(classes("ab", "ab"), classes("ab", "aa"), metric="accuracy", classes=["a", "b"])
    with pytest.raises(CompareError, match="have no iou"):
        paired_difference(table([0.1]), table([0.1]), metric="iou")
