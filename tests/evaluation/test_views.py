"""View matching and effective rank: what they are for known features, and how they choose a checkpoint."""

from __future__ import annotations

import functools
import math
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from evaluation.tasks import TaskError
from evaluation.validate import checkpoint_scores
from evaluation.validation_tasks import ValidationTask
from evaluation.views import effective_rank, view_matching


def views() -> Iterator[np.ndarray]:
    """Twelve images in two batches: blobs of chance, and the same a little noisier."""
    rng = np.random.default_rng(0)
    for size in (8, 4):
        first = rng.integers(40, 216, (size, 2, 2, 3)).repeat(14, 1).repeat(14, 2)
        yield np.stack([first, first + rng.integers(-30, 30, first.shape)]).astype(np.uint8)


def test_views_that_find_their_own_image_are_counted_both_ways() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert view_matching(first, first) == 1.0
    # from the first views only the last finds its own, from the second ones it too
    second = torch.tensor([[0.1, 1.0], [1.0, 0.1], [2.0, 2.0]])
    assert view_matching(first, second) == pytest.approx(1 / 3)


def test_features_that_are_all_equal_match_at_chance_and_have_rank_one() -> None:
    equal = torch.ones(50, 8)
    assert view_matching(equal, equal) == pytest.approx(1 / 50)
    assert view_matching(torch.zeros(50, 8), torch.zeros(50, 8)) == pytest.approx(1 / 50)
    assert effective_rank(equal) == pytest.approx(1.0, abs=1e-4)
    assert effective_rank(torch.zeros(50, 8)) == 1.0


def test_effective_rank_is_the_exponential_of_the_entropy_of_singular_values() -> None:
    assert effective_rank(torch.eye(5)) == pytest.approx(5.0, abs=1e-4)
    shares = np.array([3.0, 1.0]) / 4
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), abs=1e-4)


def test_features_that_are_not_finite_have_no_score() -> None:
    broken = torch.tensor([[torch.nan, 1.0], [0.0, 1.0]])
    assert view_matching(broken, broken) == 0.0
    assert math.isnan(effective_rank(broken))


def test_features_spread_at_random_have_full_rank_and_match_at_chance() -> None:
    """Why rank alone chooses nothing: noise has the highest."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(400, 16, generator=generator) for _ in range(2))
    assert effective_rank(torch.cat([first, second])) > 15
    assert view_matching(first, second) < 0.02


def _collapsed(folder: str, target: Path) -> str:
    """A copy of a backbone whose features are the same for every image."""
    shutil.copytree(folder, target)
    weights = safetensors.torch.load_file(target / "model.safetensors")
    weights["norm.weight"].zero_()
    weights["norm.bias"].fill_(0.5)
    safetensors.torch.save_file(weights, target / "model.safetensors")
    return str(target)


def test_without_labels_a_collapsed_backbone_scores_at_chance_and_loses(vit_folder: str, tmp_path: Path) -> None:
    callback = pickle.loads(pickle.dumps(functools.partial(checkpoint_scores, views=views)))  # noqa: S301
    metric, score, others = callback(vit_folder)
    assert metric == "views/matching"
    assert sorted(others) == ["views/effective_rank", "views/matching_chance"]
    assert others["views/matching_chance"] == pytest.approx(1 / 12)
    assert score > 0.5
    assert others["views/effective_rank"] > 1.01
    _, collapsed, ranks = callback(_collapsed(vit_folder, tmp_path / "collapsed"))
    assert collapsed == pytest.approx(1 / 12)
    assert ranks["views/effective_rank"] == pytest.approx(1.0, abs=1e-3)
    assert collapsed < score


def test_several_tasks_choose_by_their_weighted_mean_or_by_one_of_them(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    shutil.copytree(colours, tmp_path / "colours")
    shutil.copytree(colours, tmp_path / "patches")
    colours = tmp_path / "colours"
    tasks = (
        ValidationTask(task="auto", data=colours, weight=3.0),
        ValidationTask(task="auto", data=tmp_path / "patches", weight=1.0),
    )
    (tmp_path / "patches" / "labels.csv").write_text((colours / "labels.csv").read_text().replace(",red,", ",blue,"))
    _, _, only = checkpoint_scores(vit_folder, views=views, tasks=tasks[:1])
    assert "views/matching" in only
    metric, mean, scores = checkpoint_scores(vit_folder, views=views, tasks=tasks)
    assert metric == "mean/val/colours+patches"
    first, second = scores["colours/val/knn_balanced_accuracy"], scores["patches/val/knn_balanced_accuracy"]
    assert first != second
    assert mean == pytest.approx((3 * first + second) / 4)
    assert scores["colours/val/knn_balanced_accuracy_chance"] == pytest.approx(1 / 3)
    assert scores["patches/val/knn_balanced_accuracy_chance"] == pytest.approx(1 / 2)
    metric, value, scores = checkpoint_scores(vit_folder, views=views, tasks=tasks, chosen_by="patches")
    assert (metric, value) == ("patches/val/knn_balanced_accuracy", second)
    assert scores["colours/val/knn_balanced_accuracy"] == first
    for path in colours.glob("p[45]_*.png"):  # of the test split, on disk as bytes that are no image
        path.write_bytes(b"not an image")
        (tmp_path / "patches" / path.name).write_bytes(b"not an image")
    assert checkpoint_scores(vit_folder, views=views, tasks=tasks, chosen_by="patches")[1] == second


def test_grades_in_words_have_an_order_and_an_unreadable_image_is_left_out_and_counted(
    vit_folder: str, colours: Path, tmp_path: Path
) -> None:
    data = tmp_path / "worded"
    shutil.copytree(colours, data)
    one = ValidationTask(task="auto", data=data, order=("blue", "green", "red"), protocol="made")
    metric, before, scores = checkpoint_scores(vit_folder, views=views, tasks=(one,))
    assert metric == "worded/val/knn_quadratic_weighted_kappa"
    assert "worded/val/unreadable" not in scores
    bad = sorted(data.glob("p*_*.png"))[0]
    bad.write_bytes(b"not an image")
    _, after, scores = checkpoint_scores(vit_folder, views=views, tasks=(one,))
    assert scores["worded/val/unreadable"] == 1.0
    assert math.isfinite(before)
    assert math.isfinite(after)
    with pytest.raises(TaskError, match=r"1 of .* validation images .* more than --validation-max-unreadable 0 allows"):
        checkpoint_scores(vit_folder, views=views, tasks=(replace(one, max_unreadable=0.0),))


def test_masks_are_refused(vit_folder: str, squares: Path) -> None:
    with pytest.raises(TaskError, match="is a segmentation set"):
        checkpoint_scores(vit_folder, views=views, tasks=(ValidationTask(task="auto", data=squares),))
