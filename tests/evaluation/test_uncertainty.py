import numpy as np
import pytest

from evaluation.uncertainty import label_uncertainty


def test_points_between_two_classes_are_the_open_ones() -> None:
    labelled = np.array([[-1.0, 0], [-0.9, 0.1], [1.0, 0], [0.9, -0.1]], np.float32)
    vectors = np.array([[-1.0, 0], [0.0, 0], [1.0, 0], [3.0, 0]], np.float32)
    found = label_uncertainty(labelled, ["a", "a", "b", "b"], vectors)
    assert found is not None
    assert np.argsort(-found).tolist() == [1, 0, 2, 3] or np.argsort(-found).tolist() == [1, 2, 0, 3]
    assert ((found >= 0) & (found <= 1)).all()


def test_one_class_leaves_nothing_to_say() -> None:
    labelled = np.ones((2, 3), np.float32)
    assert label_uncertainty(labelled, ["a", "a"], labelled) is None
    assert label_uncertainty(np.empty((0, 3), np.float32), [], labelled) is None
    with pytest.raises(ValueError, match="3 labels are given for 2 features"):
        label_uncertainty(labelled, ["a", "b", "a"], labelled)
