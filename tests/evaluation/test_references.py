from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.config import EvaluateConfig
from evaluation.leakage import find_leaks
from evaluation.references import constant_mask
from evaluation.run import reference_scores
from evaluation.tasks import Item, TaskData, fingerprint, read_task, resolve_task


def scores_of(task: TaskData) -> dict[str, float]:
    identity = fingerprint(task)
    leak = find_leaks(task, identity.hashes, judge=None)
    rows = reference_scores(task, identity=identity, config=EvaluateConfig(num_bootstrap=50), leak=leak)
    assert {row.head for row in rows} == {"constant"}
    assert {row.model for row in rows} == {"no picture"}
    return {row.metric: row.value for row in rows}


def test_the_commonest_class_of_three_alike_has_the_scores_of_chance(colours: Path) -> None:
    # four test images a class, all called "blue": the first of equally common ones by name
    assert scores_of(read_task(colours)) == {
        "accuracy": pytest.approx(1 / 3),
        "balanced_accuracy": pytest.approx(1 / 3),
        "macro_f1": pytest.approx((2 * 4 / (12 + 4)) / 3),
    }


def test_one_mask_for_all_squares_is_scored_at_their_own_size(squares: Path) -> None:
    found = scores_of(read_task(squares))
    assert 0.3 < found["iou"] < found["dice"] < 0.9


def test_the_threshold_is_chosen_on_validation_and_the_test_split_is_not_read(squares: Path) -> None:
    task = read_task(squares)
    share, threshold, val = constant_mask(task.split("train"), task.split("val"))
    assert share.shape == (128, 128)
    assert 0.05 <= threshold <= 0.7
    assert 0.3 < val < 0.9
    assert float(share.max()) <= 1.0


@pytest.mark.real_data
def test_a_constant_mask_reaches_426_on_kvasir_seg(real_data: Path) -> None:
    task = resolve_task("kvasir_seg", real_data)
    thin = tuple(item for number, item in enumerate(task.items) if item.split != "train" or number % 4 == 0)
    found = scores_of(TaskData(name=task.name, kind=task.kind, items=thin, classes=task.classes))
    assert found["dice"] == pytest.approx(0.426, abs=0.02)


def test_groups_of_items_are_numbered_without_gaps() -> None:
    from evaluation.labels import group_indices

    items = [Item(path=str(n), split="test", group=g, label="a") for n, g in enumerate("abac")]
    assert group_indices(items).tolist() == np.array([0, 1, 0, 2]).tolist()
