"""Scores of all folds together."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from evaluation.metrics import Interval
from evaluation.pooled_folds import pooled_values
from evaluation.rotation import FoldClasses, FoldValues, rotate_classes, rotate_scores, rotate_values, rotation_rows
from warehouse.records import Score
from warehouse.store import write_parquet


def test_mean_and_sample_deviation_of_three_folds() -> None:
    found = rotate_scores([0.5, 0.7, 0.9])
    assert (found.values, found.pooled) == ((0.5, 0.7, 0.9), None)
    assert (found.mean, found.sd) == pytest.approx((0.7, 0.2))
    assert math.isnan(rotate_scores([0.5]).sd)
    assert math.isnan(rotate_scores([0.5, math.nan]).mean)
    with pytest.raises(ValueError, match="there are no folds"):
        rotate_scores([])


def fold(predictions: str, labels: str, groups: str) -> FoldClasses:
    return FoldClasses(np.array(list(map(int, predictions))), np.array(list(map(int, labels))), tuple(groups))


def test_the_pooled_value_is_of_all_predictions_and_not_the_mean() -> None:
    folds = [fold("0000", "0001", "aabb"), fold("11", "11", "cc")]
    found = rotate_classes(folds, metric="balanced_accuracy", num_classes=2, num_bootstrap=50, seed=0)
    assert found.values == (0.5, 1.0)
    assert found.mean == 0.75
    assert found.pooled is not None
    assert found.pooled.value == pytest.approx((3 / 3 + 2 / 3) / 2)
    assert math.isnan(found.pooled.low), "three patients are too few for an interval"


def test_a_patient_tested_in_two_folds_is_one_group() -> None:
    once = rotate_classes([fold("01", "00", "aa"), fold("01", "00", "aa")], metric="accuracy", num_classes=2, num_bootstrap=50, seed=0)
    assert once.pooled is not None
    assert once.pooled.value == 0.5
    assert math.isnan(once.pooled.low), "one patient has no interval, however many folds test it"


def test_values_of_images_are_pooled_by_image() -> None:
    folds = [FoldValues(np.array([1.0, 1.0, 1.0]), ("a", "b", "c")), FoldValues(np.array([0.0]), ("d",))]
    found = rotate_values(folds, num_bootstrap=50, seed=0)
    assert (found.values, found.mean) == ((1.0, 0.0), 0.5)
    assert found.pooled is not None
    assert found.pooled.value == 0.75


def score(fold: int, value: float, metric: str = "dice") -> Score:
    return Score(
        score_id=f"{metric}{fold}",
        model_id="m",
        model="ours",
        task="polyps",
        data_id=f"data{fold}",
        split="test",
        head="linear_segmentation",
        metric=metric,
        value=value,
        ci_low=0.1,
        ci_high=0.9,
        num_items=10,
        num_groups=5,
        seed=0,
        details={"image_size": "224", "fold": str(fold), "epoch": str(fold), "split_protocol": "made: 2 folds"},
    )


def test_distances_are_pooled_and_other_measures_say_why_not(tmp_path: Path) -> None:
    folds = []
    for fold in (0, 1):
        numbers = range(3 * fold, 3 * fold + 3)
        table = {"path": [f"{n}.png" for n in numbers], "group": [f"g{n}" for n in numbers], "hd95": [float(n) for n in numbers]}
        write_parquet(tmp_path / f"{fold}.parquet", pa.table(table))
        told = {"predictions_file": f"{fold}.parquet", "head_file": ""}
        folds.append([replace(score(fold, 1.0, metric), details=told) for metric in ("hd95", "endofm_volume_dice")])
    found = pooled_values(folds, tmp_path, classes=(), num_bootstrap=10, seed=0)
    distance = found["m", "linear_segmentation", "hd95"]
    assert isinstance(distance, Interval)
    assert (distance.value, distance.method) == (2.5, "t, jackknife over 6 groups")
    assert found["m", "linear_segmentation", "endofm_volume_dice"] == "this measure is not pooled over folds"
    rows = rotation_rows(folds, num_items=6, num_groups=6, pooled=found)
    assert [row.details["interval"] for row in rows] == [distance.method, "no interval: this measure is not pooled over folds"]


def test_one_row_for_each_model_head_and_metric_that_all_folds_have() -> None:
    folds = [[score(0, 0.5), score(0, 0.3, "iou")], [score(1, 0.7)]]
    (row,) = rotation_rows(folds, num_items=20, num_groups=9)
    assert (row.metric, row.num_items, row.num_groups) == ("dice", 20, 9)
    assert row.value == pytest.approx(0.6)
    assert math.isnan(row.ci_low)
    assert row.details == {
        "image_size": "224",
        "split_protocol": "made: 2 folds",
        "fold": "all",
        "num_folds": "2",
        "fold_values": "0.5000 0.7000",
        "mean": "0.6000",
        "sd": "0.1414",
        "value_is": "the mean of the folds",
        "interval": "no interval: no predictions are kept",
    }
    assert row.score_id not in {"dice0", "dice1"}
    (pooled,) = rotation_rows(folds, num_items=20, num_groups=9, pooled={("m", "linear_segmentation", "dice"): Interval(0.62, 0.5, 0.7)})
    assert (pooled.value, pooled.ci_low, pooled.ci_high) == (0.62, 0.5, 0.7)
    assert pooled.details["value_is"] == "of all predictions pooled"
    few = [replace(score(fold, 0.1), details={"shots": "50%", "draw": "mean"}) for fold in (0, 1)]
    assert rotation_rows([[*folds[0], few[0]], [*folds[1], few[1]]], num_items=20, num_groups=9)[0] == row
    leaks = [[replace(score(0, 0.5), details={"leak": "clean"})], [replace(score(1, 0.7), details={"leak": "overlap 3"})]]
    assert rotation_rows(leaks, num_items=20, num_groups=9)[0].details["leak"] == "overlap 3"
    other = [[score(0, 0.5)], [replace(score(1, 0.7), score_id="another")]]
    assert rotation_rows(other, num_items=20, num_groups=9)[0].score_id != row.score_id
