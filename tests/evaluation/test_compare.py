"""Paired differences: against the textbook's t interval, and what cannot be compared."""

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ttest_rel

from evaluation.compare import CompareError, paired_difference


def table(values: list[float], groups: list[str] | None = None) -> pa.Table:
    names = [f"{i}.png" for i in range(len(values))]
    box = pa.nulls(len(values), pa.list_(pa.int32()))
    return pa.table({"path": names, "box": box, "group": groups or names, "dice": values})


def classes(predictions: str, labels: str, groups: list[str] | None = None) -> pa.Table:
    plain = table([0.0] * len(labels), groups).drop_columns(["dice"])
    return plain.append_column("label", pa.array(list(labels))).append_column("prediction", pa.array(list(predictions)))


def test_with_one_image_a_patient_the_interval_is_the_paired_t_tests() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(20), rng.random(20)
    found = paired_difference(table(a.tolist()), table(b.tolist()), metric="dice")
    expected = ttest_rel(a, b).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.difference == pytest.approx(float((a - b).mean()))
    assert not found.is_told_apart


def test_rows_are_joined_by_image_and_not_by_place() -> None:
    a = table([0.1, 0.5, 0.9, 0.2, 0.4])
    shuffled = table([0.1, 0.5, 0.9, 0.2, 0.4]).take([3, 1, 4, 0, 2])
    found = paired_difference(a, shuffled, metric="dice")
    assert (found.difference, found.low, found.high) == pytest.approx((0, 0, 0))


def test_accuracy_by_patients_and_none_below_five() -> None:
    groups = ["p", "p", "q", "q", "r", "r", "s", "s", "t", "t"]
    first, second = classes("aabbaabbab", "aabbaabbab", groups), classes("abbbaabaab", "aabbaabbab", groups)
    found = paired_difference(first, second, metric="accuracy", classes=["a", "b"])
    assert (found.first, found.second, found.num_groups) == (1.0, 0.8, 5)
    assert found.low < 0.2 < found.high
    few = paired_difference(first.slice(0, 8), second.slice(0, 8), metric="accuracy", classes=["a", "b"])
    assert math.isnan(few.low)
    assert not few.is_told_apart


def test_other_images_labels_or_metrics_are_refused() -> None:
    with pytest.raises(CompareError, match="not of the same ones"):
        paired_difference(table([0.1, 0.2]), table([0.1]), metric="dice")
    with pytest.raises(CompareError, match="labels of the two evaluations differ"):
        paired_difference(classes("ab", "ab"), classes("ab", "aa"), metric="accuracy", classes=["a", "b"])
    with pytest.raises(CompareError, match="have no iou"):
        paired_difference(table([0.1]), table([0.1]), metric="iou")
