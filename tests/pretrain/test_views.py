"""The views that checkpoints without labels are scored on: fixed, spread over videos, and free of global state."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain.config import PretrainConfig
from pretrain.order import Footage
from pretrain.views import FixedViews, spread_samples
from tests.helpers.shards import picture, write_dataset


def test_views_follow_from_the_position_alone_and_draw_nothing_global(micro: PretrainConfig, dataset_dir: Path) -> None:
    views = FixedViews(dataset_dir=dataset_dir, augment=micro.augment, image_size=32, num_images=10)
    np.random.seed(1)
    torch.manual_seed(1)
    before = pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist()
    first = np.concatenate(list(views()), axis=1)
    assert (pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist()) == before
    assert first.shape == (2, 10, 32, 32, 3)
    again = pickle.loads(pickle.dumps(dataclasses.replace(views, num_threads=1, num_images=14)))  # noqa: S301
    assert np.array_equal(np.concatenate(list(again()), axis=1)[:, :10], first)  # more images add to the same ones
    assert not np.array_equal(first[0], first[1])


def test_one_frame_of_each_video_comes_before_the_second_of_any() -> None:
    videos = np.array([0, 0, 0, 0, 0, 1, 2, 2])
    footage = Footage(np.arange(8, dtype=np.uint32), np.array([0, 5, 6, 8]), np.arange(8))
    order = spread_samples(8, footage)
    assert sorted(order.tolist()) == list(range(8))
    assert sorted(videos[order[:3]].tolist()) == [0, 1, 2]
    assert sorted(videos[order[3:5]].tolist()) == [0, 2]
    assert np.array_equal(spread_samples(8, footage), order)


def test_unreadable_images_are_passed_over_and_too_few_are_said(micro: PretrainConfig, tmp_path: Path) -> None:
    jpegs = [picture(0), b"no jpeg", picture(1), b"nor this"]
    folder = write_dataset(tmp_path / "some", jpegs, 4)
    views = FixedViews(dataset_dir=folder, augment=micro.augment, image_size=32)
    assert sum(batch.shape[1] for batch in views()) == 2
    folder = write_dataset(tmp_path / "none", jpegs[:2], 4)
    with pytest.raises(ValueError, match="has 1 readable images; matching views needs 2 or more"):
        list(dataclasses.replace(views, dataset_dir=folder)())
