"""What is read out of stored predictions: against scikit-learn, and literal cases."""

import math

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from evaluation.report.prediction_tables import GroupRow, confusion, group_rows, reliability, subgroup_rows

CLASSES = ["a", "b", "c"]


def test_confusion_and_its_rates_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = (rng.choice(CLASSES, 50).tolist() for _ in range(2))
    found = confusion(pa.table({"label": labels, "prediction": predictions}), CLASSES)
    assert [list(row.counts) for row in found.rows] == confusion_matrix(labels, predictions, labels=CLASSES).tolist()
    for row in found.rows:
        truth, called = ([value == row.name for value in values] for values in (labels, predictions))
        assert row.sensitivity == pytest.approx(recall_score(truth, called))
        assert row.specificity == pytest.approx(recall_score(truth, called, pos_label=False))
        assert row.precision == pytest.approx(precision_score(truth, called))


def test_a_class_that_is_absent_has_no_sensitivity() -> None:
    found = confusion(pa.table({"label": ["a", "a"], "prediction": ["a", "b"]}), CLASSES)
    assert math.isnan(found.rows[2].sensitivity)
    assert (found.rows[2].specificity, found.rows[1].sensitivity == found.rows[1].sensitivity) == (1.0, False)


def test_reliability_counts_tenths_and_certainty_belongs_to_the_last() -> None:
    table = pa.table({"label": ["a", "a", "b"], "prediction": ["a", "a", "a"], "probabilities": [[1.0, 0.0], [0.52, 0.48], [0.58, 0.42]]})
    bins = reliability(table)
    assert [(round(part.confidence, 2), part.accuracy, part.num_items) for part in bins] == [(0.55, 0.5, 2), (1.0, 1.0, 1)]


def test_groups_are_listed_from_the_worst() -> None:
    table = pa.table({"group": ["x", "y", "x", "z"], "label": ["a", "a", "b", "b"], "prediction": ["a", "b", "a", "a"]})
    assert group_rows(table) == (GroupRow("y", 1, 0.0), GroupRow("z", 1, 0.0), GroupRow("x", 2, 0.5))
    assert group_rows(pa.table({"group": ["x", "x"], "dice": [0.25, 0.75]})) == (GroupRow("x", 2, 0.5),)


def test_subgroups_have_an_interval_from_five_groups_on() -> None:
    table = pa.table(
        {
            "group": ["p1", "p2", "p3", "p4", "p5", "p5", "q1", "q1", "r"],
            "device": ["new"] * 6 + ["old"] * 2 + [""],
            "dice": [0.9, 0.8, 0.9, 0.8, 0.7, 0.7, 0.2, 0.4, 0.9],
        }
    )
    old, new, unnamed = subgroup_rows(table, "device")
    assert (old.name, old.num_items, old.num_groups, old.score.value) == ("old", 2, 1, pytest.approx(0.3))
    assert math.isnan(old.score.low)
    assert (new.name, new.num_items, new.num_groups, new.score.value) == ("new", 6, 5, pytest.approx(0.8))
    assert new.score.low < 0.8 < new.score.high
    assert unnamed.name == "not named"
    assert subgroup_rows(table, "site") == ()
    assert subgroup_rows(table.slice(0, 6), "device") == ()
