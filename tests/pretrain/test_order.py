from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretrain.order import Footage, deal_epoch, moments, near_in_batch, read_footage, warn_of_near_frames


def footage(*counts: int, every_us: int = 500_000) -> Footage:
    """Videos of so many frames, which lie scattered over the samples."""
    samples = np.random.default_rng(9).permutation(sum(counts)).astype(np.uint32)
    times = np.concatenate([np.arange(count) * every_us for count in counts])
    return Footage(samples, np.concatenate([[0], np.cumsum(counts)]), times)


def dealt(videos: Footage, batch_size: int, *, seed: int = 0, epoch: int = 0) -> np.ndarray:
    """(batches, batch_size, 2): video and rank in the video of each sample."""
    num_samples = len(videos.samples)
    order = deal_epoch(videos, num_samples=num_samples, batch_size=batch_size, seed=seed, epoch=epoch)
    row = np.empty(num_samples, np.int64)
    row[videos.samples] = np.arange(num_samples)
    video = np.searchsorted(videos.first, row[order], side="right") - 1
    return np.stack([video, row[order] - videos.first[video]], axis=-1).reshape(-1, batch_size, 2)


def least_distance(batch: np.ndarray) -> int:
    """Frames between the nearest two of a batch that are of one video."""
    found = [np.diff(np.sort(batch[batch[:, 0] == video, 1])).min(initial=1 << 30) for video in np.unique(batch[:, 0])]
    return int(min(found))


@pytest.mark.parametrize(
    ("counts", "batch_size"),
    [((5, 3, 1, 7, 8, 2, 6), 4), ((8,) * 6, 6), ((40, 11, 3, 16, 24), 8), ((30, 1, 1, 1), 8), ((100,), 10), ((1,) * 37, 5)],
)
@pytest.mark.parametrize("epoch", range(6))
def test_frames_in_one_batch_are_a_whole_deal_apart(counts: tuple[int, ...], batch_size: int, epoch: int) -> None:
    batches = dealt(footage(*counts), batch_size, epoch=epoch)
    num_left_over = sum(counts) % batch_size
    assert len({tuple(frame) for frame in batches.reshape(-1, 2).tolist()}) == batches.shape[0] * batch_size == sum(counts) - num_left_over
    assert min(map(least_distance, batches)) >= len(batches)


def test_a_video_with_no_more_frames_than_batches_is_once_in_a_batch() -> None:
    for seed in range(20):
        for batch in dealt(footage(9, 9, 4, 2, 7, 5), 4, seed=seed):
            assert len(set(batch[:, 0].tolist())) == 4


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    videos = footage(9, 9, 4, 2, 7, 5)
    assert np.array_equal(dealt(videos, 4, epoch=3), dealt(videos, 4, epoch=3))
    assert not np.array_equal(dealt(videos, 4, epoch=3), dealt(videos, 4, epoch=4))
    assert not np.array_equal(dealt(videos, 4, seed=1), dealt(videos, 4, seed=2))


def test_every_sample_comes_as_early_and_as_often_as_any_other() -> None:
    videos = footage(9, 9, 4, 2, 7, 6)  # 37 samples, of which 36 are dealt to nine batches
    total, seen = np.zeros(37), np.zeros(37)
    for epoch in range(1500):
        order = deal_epoch(videos, num_samples=37, batch_size=4, seed=0, epoch=epoch)
        total[order] += np.repeat(np.arange(9), 4)
        seen[order] += 1
    assert np.abs(total / seen - 4).max() < 0.3  # four standard errors of a mean of 0..8 over 1500 epochs
    assert (1500 - seen).max() < 80  # 40 expected of each


def test_frames_of_different_videos_meet_as_by_chance() -> None:
    videos = footage(8, 8, 8)  # as many frames as batches, so any fixed start would pair equal ranks for ever
    differences = [
        int(batch[batch[:, 0] == 1, 1][0] - batch[batch[:, 0] == 0, 1][0]) % 8
        for epoch in range(400)
        for batch in dealt(videos, 3, epoch=epoch)[:1]
    ]
    assert np.bincount(differences, minlength=8).min() > 25  # of 50 expected


def test_samples_without_footage_are_shuffled() -> None:
    order = deal_epoch(None, num_samples=14, batch_size=4, seed=1, epoch=0)
    assert len(set(order.tolist())) == 12
    assert order.tolist() != sorted(order.tolist())


def write_samples(path: Path, frame_ids: list[str], video_ids: list[str]) -> Path:
    pq.write_table(pa.table({"position": range(len(frame_ids)), "frame_id": frame_ids, "video_id": video_ids}), path)
    return path


def test_footage_is_read_from_video_and_frame_ids(tmp_path: Path) -> None:
    path = write_samples(tmp_path / "samples.parquet", ["b-000002500000", "c-000000000000", "b-000000500000", "a-000000000007"], [*"bcba"])
    found = read_footage(path)
    assert found is not None
    assert found.samples.tolist() == [3, 2, 0, 1]
    assert found.first.tolist() == [0, 1, 3, 4]
    assert found.times_us.tolist() == [7, 500_000, 2_500_000, 0]


def test_times_of_different_lengths_are_read(tmp_path: Path) -> None:
    found = read_footage(write_samples(tmp_path / "samples.parquet", ["a-10", "a-9", "b-c-0", "a-100"], ["a", "a", "b", "a"]))
    assert found is not None
    assert found.times_us.tolist() == [9, 10, 100, 0]


def test_other_ids_say_nothing_of_footage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_footage(write_samples(tmp_path / "samples.parquet", ["f0", "f1"], ["a", "a"])) is None
    with caplog.at_level(logging.WARNING):
        warn_of_near_frames(None, num_samples=2, batch_size=2, where="/archive/foreign")
    assert "/archive/foreign does not say which frames are of one video" in caplog.text


def test_too_many_near_frames_are_said_with_figures(caplog: pytest.LogCaptureFixture) -> None:
    videos = footage(12, 40, 8)  # half a second apart: ten lie within five seconds
    assert near_in_batch(videos, num_batches=10) == (0, 10)
    assert near_in_batch(videos, num_batches=6) == (56, 10)
    with caplog.at_level(logging.WARNING):
        warn_of_near_frames(videos, num_samples=60, batch_size=6, where="/lake/shards/a")
        assert not caplog.records
        warn_of_near_frames(videos, num_samples=60, batch_size=10, where="/lake/shards/a")
    assert "56 of 60 frames of /lake/shards/a" in caplog.text
    assert "up to 10 lie so near, and an epoch has 6 batches of 10" in caplog.text


def test_moments_come_from_the_index_by_position(tmp_path: Path) -> None:
    table = pa.table(
        {
            "position": [2, 0, 1],
            "video_id": ["b", "b-7", "b"],
            "frame_id": ["b-000002000500", "b-7-000000040000", "b-audited-000009000000"],
        }
    )
    pq.write_table(table, tmp_path / "samples.parquet")
    found = read_footage(tmp_path / "samples.parquet")
    assert found is not None
    assert moments(found).tolist() == [[1, 40], [0, 9000], [0, 2000]]
