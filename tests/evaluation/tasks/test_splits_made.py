"""Splits that are made here: by group, the same whatever the settings, and in folds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings, strategies as st

from evaluation.tasks import Item, TaskError, folds_of, read_task, resolve_task
from evaluation.tasks.splits import complete_splits
from tests.evaluation.tasks.published import tree


def items(groups: list[int]) -> list[Item]:
    return [Item(path=f"/{i}.png", split="", group=f"p{group}", label="ab"[group % 2]) for i, group in enumerate(groups)]


def test_no_setting_tests_on_images_that_chose_the_checkpoint(tmp_path: Path) -> None:
    tree(tmp_path, [f"{label}/{i}.png" for label in ("cecum", "ileum") for i in range(60)])
    chosen = {item.path for item in read_task(tmp_path).split("val")}
    for val_share in (0.1, 0.25, 0.4):
        again = read_task(tmp_path, val_share=val_share)
        assert not chosen & {item.path for item in again.split("test")}


def test_five_folds_test_every_group_once(tmp_path: Path) -> None:
    rows = ["path,label,patient"]
    for patient in range(13):
        for i in range(patient + 1):
            rows.append(f"{patient}_{i}.png,{'ab'[patient % 2]},p{patient}")
    tree(tmp_path, [row.partition(",")[0] for row in rows[1:]])
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    assert folds_of("auto", tmp_path) == 5
    folds = [resolve_task("auto", tmp_path, fold=fold) for fold in range(5)]
    tested = Counter(item.path for fold in folds for item in fold.split("test"))
    assert set(tested.values()) == {1}
    assert len(tested) == 91
    assert [fold.leaks() for fold in folds] == [()] * 5
    assert [(fold.fold, fold.num_folds) for fold in folds] == [(i, 5) for i in range(5)]
    assert folds[0] == resolve_task("auto", tmp_path)
    assert folds[3].notes[0] == "the data names no test split: fold 3 of 5 folds of its groups, whatever the seed"
    with pytest.raises(TaskError, match="fold is 5; give 0 to 4, or all"):
        resolve_task("auto", tmp_path, fold=5)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 12), min_size=12, max_size=40), st.integers(0, 2))
@example([0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 6], 0)
@example([0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5], 0)
def test_a_group_is_never_divided(groups: list[int], fold: int) -> None:
    if len(set(groups)) < 6:
        return
    made = complete_splits(items(groups), val_share=0.2, fold=fold)
    splits: dict[str, set[str]] = {}
    for item in made.items:
        splits.setdefault(item.group, set()).add(item.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {item.split for item in made.items} == {"train", "val", "test"}


def test_a_set_with_its_own_test_split_has_folds_only_if_asked(tmp_path: Path) -> None:
    tree(tmp_path, [f"{split}/{label}/{i}.png" for split in ("train", "test") for label in ("a", "b") for i in range(10)])
    assert folds_of("auto", tmp_path) == 1
    with pytest.raises(TaskError, match="the data names its test split, so there are no folds; leave --fold out, or give --protocol made"):
        resolve_task("auto", tmp_path, fold=1)
    made = resolve_task("auto", tmp_path, protocol="made", fold=1)
    assert (len(made.split("test")), made.num_folds) == (8, 5)
    assert made.split_protocol == "made: 5 folds of groups, made here"
    with pytest.raises(TaskError, match="has no protocol 'published'; give one of clean, made"):
        resolve_task("auto", tmp_path, protocol="published")
