from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings, strategies as st

from curation.selection.label_choice import choose_for_labels

Vectors = npt.NDArray[np.float32]


def unit(vectors: Sequence[Sequence[float]] | npt.NDArray[Any]) -> Vectors:
    array = np.asarray(vectors, np.float32)
    unit_vectors: Vectors = array / np.linalg.norm(array, axis=1, keepdims=True)
    return unit_vectors


def groups_of(sizes: tuple[int, ...], *, spread: float = 0.05, seed: int = 0) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Points around one axis each, and which."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    noise = np.random.default_rng(seed).normal(size=(len(group), len(sizes) + 4)) * spread
    noise[np.arange(len(group)), group] += 1
    return unit(noise), group


def none_of(vectors: Vectors) -> npt.NDArray[np.bool_]:
    return np.zeros(len(vectors), bool)


def test_without_labels_each_group_gives_a_typical_point_the_largest_first() -> None:
    vectors, group = groups_of((100, 30, 5))
    choice = choose_for_labels(vectors, 3, is_labelled=none_of(vectors), uncertainty=None, seed=0)
    assert group[choice.rows].tolist() == [0, 1, 2]
    assert choice.reasons == ("typical",) * 3
    for row, found in zip(choice.rows, group[choice.rows], strict=True):
        mean = unit(vectors[group == found].mean(axis=0, keepdims=True))[0]
        assert vectors[row] @ mean == pytest.approx((vectors[group == found] @ mean).max())


def test_labels_of_one_class_send_the_choice_elsewhere() -> None:
    vectors, group = groups_of((100, 30, 5))
    is_labelled = none_of(vectors)
    is_labelled[3] = True
    choice = choose_for_labels(vectors, 2, is_labelled=is_labelled, uncertainty=None, seed=0)
    assert group[choice.rows].tolist() == [1, 2]


def test_with_a_head_the_next_is_far_and_uncertain_by_hand() -> None:
    vectors = unit([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.1, 1.0]])
    is_labelled = np.array([True, False, False, False, False])
    uncertainty = np.array([0.0, 1.0, 0.4, 0.9, 0.8])
    choice = choose_for_labels(vectors, 4, is_labelled=is_labelled, uncertainty=uncertainty, seed=0)
    # 3 is far and uncertain; then 4 lies beside it, 1 beside the labelled one
    assert choice.rows.tolist() == [3, 2, 1, 4]
    assert choice.reasons == ("uncertain", "new", "uncertain", "uncertain")
    assert choice.scores.tolist() == pytest.approx([0.9, 1.0, 1.0, 0.8])


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 9),
    size=st.integers(0, 40),
    has_head=st.booleans(),
    cap=st.sampled_from([None, 1, 3]),
    num_labelled=st.integers(1, 9),
)
def test_choices_are_new_allowed_capped_and_repeatable(seed: int, size: int, has_head: bool, cap: int | None, num_labelled: int) -> None:
    vectors, _ = groups_of((12, 9, 6), seed=seed, spread=0.3)
    rng = np.random.default_rng(seed)
    is_labelled, may_choose, patients = none_of(vectors), rng.random(27) < 0.8, rng.integers(0, 4, 27)
    is_labelled[rng.choice(27, num_labelled, replace=False)] = True

    def choose() -> npt.NDArray[np.int64]:
        return choose_for_labels(
            vectors,
            size,
            is_labelled=is_labelled,
            uncertainty=np.random.default_rng(seed).random(27) if has_head else None,
            seed=seed,
            may_choose=may_choose,
            groups=patients,
            max_per_group=cap,
        ).rows

    rows = choose()
    assert rows.tolist() == choose().tolist()
    free = may_choose & ~is_labelled
    assert free[rows].all()
    assert len(set(rows.tolist())) == len(rows)
    by_patient = np.bincount(patients[free], minlength=4)
    assert len(rows) == min(size, int((by_patient if cap is None else np.minimum(by_patient, cap)).sum()))
    assert cap is None or np.bincount(patients[rows], minlength=1).max(initial=0) <= cap


def test_what_does_not_fit_is_said() -> None:
    vectors, group = groups_of((3, 3))
    with pytest.raises(ValueError, match="is_labelled has shape"):
        choose_for_labels(vectors, 1, is_labelled=np.zeros(2, bool), uncertainty=None, seed=0)
    with pytest.raises(ValueError, match="1 or more with groups"):
        choose_for_labels(vectors, 1, is_labelled=none_of(vectors), uncertainty=None, seed=0, max_per_group=1)
    with pytest.raises(ValueError, match="size is -1"):
        choose_for_labels(vectors, -1, is_labelled=none_of(vectors), uncertainty=None, seed=0, groups=group)
