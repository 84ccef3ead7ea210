"""Which labelled sets choose checkpoints: how options pair, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluation.validation_tasks import Validation, ValidationTask, check_choice, make_validation

A, B = Path("/a/landmarks"), Path("/a/grades")


def test_folders_pair_with_names_and_weights() -> None:
    assert make_validation((), ("auto",)) == Validation()
    assert make_validation([A], ["landmarks"]) == Validation(tasks=(ValidationTask(task="landmarks", data=A),))
    both = make_validation([A, B], ["auto"], [2, 0.5], "grades")
    assert [(one.task, one.weight) for one in both.tasks] == [("auto", 2), ("auto", 0.5)]
    assert both.chosen_by == "grades"


def test_orders_and_divisions_pair_with_folders() -> None:
    both = make_validation([A, B], ["auto"], orders=["-", "none, mild,severe"], protocols=["made"], max_unreadable=0.2)
    assert [(one.order, one.protocol, one.max_unreadable) for one in both.tasks] == [
        ((), "made", 0.2),
        (("none", "mild", "severe"), "made", 0.2),
    ]
    with pytest.raises(ValueError, match="--validation-order has 1 values and --validation 2 folders; give one for each folder"):
        make_validation([A, B], orders=["none,mild"])
    with pytest.raises(ValueError, match="--validation-protocol has 3 values and --validation 2 folders"):
        make_validation([A, B], protocols=["clean", "made", "made"])
    with pytest.raises(ValueError, match="--validation-max-unreadable is 2; give a share from 0 to 1"):
        make_validation([A], max_unreadable=2)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (((), ("auto",), (1.0,)), "given without --validation"),
        (([A, B], ("landmarks",)), "--task has 1 values and --validation 2 folders; give one for each folder"),
        (([A, B], ("auto",), (1.0,)), "--validation-weights has 1 values and --validation 2 folders"),
        (([A, B], ("auto",), (1.0, -1.0)), "--validation-weights is 1 -1; give numbers from 0 on"),
        (([A], ("auto",), (0.0,)), "not all 0"),
    ],
)
def test_what_does_not_fit_is_said(given: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        make_validation(*given)
    assert sentence in str(error.value)


def test_a_test_split_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for split in ("train", "Val", "Test"):
        (tmp_path / split).mkdir()
    with pytest.raises(
        ValueError, match=r"is the test split beside Val, train: checkpoints are never chosen on it; give .* of which the val"
    ):
        make_validation([tmp_path / "Test"])
    assert make_validation([tmp_path]).tasks[0].data == tmp_path
    (tmp_path / "alone" / "test").mkdir(parents=True)
    assert make_validation([tmp_path / "alone" / "test"]).tasks  # only a name


def test_the_task_that_chooses_is_one_of_those_given() -> None:
    check_choice(Validation(chosen_by="b"), ["a", "b"])
    with pytest.raises(ValueError, match="give one of the validation tasks, a, b"):
        check_choice(Validation(chosen_by="c"), ["a", "b"])
    with pytest.raises(ValueError, match="a test split: those report, and never choose"):
        check_choice(Validation(chosen_by="a/test/accuracy"), ["a", "b"])
    with pytest.raises(ValueError, match="two validation tasks are called 'a'"):
        check_choice(Validation(), ["a", "a"])
