from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from pretrain.order import Footage, near_in_batch
from pretrain.step_samples import batch_samples, dealt
from pretrain.windows import Windows, make_windows


def windows_of(
    sizes: list[int], *, batch_size: int, window_images: int, footage: Footage | None = None, order: np.ndarray | None = None
) -> Windows:
    samples = np.arange(sum(sizes)) if order is None else order
    first = np.concatenate([[0], np.cumsum(sizes)])
    return make_windows(samples.astype(np.uint32), first, batch_size=batch_size, window_images=window_images, footage=footage)


def batches(windows: Windows, steps: range, *, seed: int = 0) -> list[list[int]]:
    num_samples, footage = len(windows.samples), windows.footage
    found = [
        batch_samples(step, num_samples=num_samples, batch_size=windows.batch_size, seed=seed, footage=footage, windows=windows)[1]
        for step in steps
    ]
    return [samples.tolist() for samples in found]


def videos(counts: list[int], *, every_us: int = 500_000) -> Footage:
    samples = np.random.default_rng(9).permutation(sum(counts)).astype(np.uint32)
    times = np.concatenate([np.arange(count) * every_us for count in counts])
    return Footage(samples, np.concatenate([[0], np.cumsum(counts)]), times)


sets = st.tuples(st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(1, 7), st.integers(1, 60), st.integers(0, 2**31))


@settings(max_examples=30, deadline=None)
@given(sets, st.integers(0, 30), st.booleans())
def test_any_cut_and_any_number_of_workers_gives_the_batches_of_the_straight_run(
    drawn: tuple[list[int], int, int, int], cut: int, has_footage: bool
) -> None:
    sizes, batch_size, window_images, seed = drawn
    batch_size = min(batch_size, sum(sizes))
    footage = videos(sizes) if has_footage else None
    windows = windows_of(sizes, batch_size=batch_size, window_images=window_images, footage=footage)
    per_epoch = sum(sizes) // batch_size
    straight = batches(windows, range(per_epoch + 1), seed=seed)
    taken = [sample for batch in straight[:per_epoch] for sample in batch]
    assert len(set(taken)) == len(taken) == per_epoch * batch_size
    cut = min(cut, per_epoch)
    resumed = windows_of(sizes, batch_size=batch_size, window_images=window_images, footage=footage)
    assert batches(resumed, range(per_epoch, cut - 1, -1), seed=seed)[::-1] == straight[cut:]
    for step in range(0, per_epoch, 3):  # whatever the world, a step's batch is one list, of which each rank takes its part
        shown = dealt(step, num_samples=sum(sizes), batch_size=batch_size, seed=seed, footage=footage, windows=windows)
        assert shown.window is not None
        assert set(straight[step]) <= set(shown.window.samples.tolist())
        assert len(shown.window.samples) <= max(batch_size, window_images)


@settings(max_examples=20, deadline=None)
@given(sets)
def test_windows_follow_one_another_through_the_shards(drawn: tuple[list[int], int, int, int]) -> None:
    sizes, batch_size, window_images, seed = drawn
    batch_size = min(batch_size, sum(sizes))
    windows = windows_of(sizes, batch_size=batch_size, window_images=window_images)
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    seen: list[int] = []
    number, epoch = 0, 0
    while epoch == 0:
        window = windows.window(epoch, number, seed=seed)
        assert set(window.shards) == set(shard_of[window.samples].tolist())
        for shard in window.shards:
            if shard not in seen:
                seen.append(shard)
            assert shard in seen[-len(window.shards) :]  # only the one at the border comes again
        epoch, number = windows.after(epoch, number)
    assert len(seen) == len(set(seen))
    assert [windows.number_of(step) for step in (0, windows.num_batches - 1, windows.num_batches)] == [
        (0, 0),
        (0, windows.num_windows - 1),
        (1, 0),
    ]


def test_every_epoch_has_another_order_of_shards_and_leaves_out_others() -> None:
    windows = windows_of([4] * 8, batch_size=5, window_images=10)
    orders = {tuple(windows.window(epoch, 0, seed=1).shards) for epoch in range(12)}
    assert len(orders) > 8
    left_out = np.zeros(32)
    for epoch in range(100):
        for number in range(windows.num_windows):
            left_out[windows.window(epoch, number, seed=1).samples] += 1
    assert (100 - left_out).min() > 0  # each of 32 is left out in 6 of 100 epochs by chance
    assert (100 - left_out).max() < 20


def test_frames_of_a_video_are_a_whole_window_of_batches_apart() -> None:
    footage = videos([16] * 12)
    windows = windows_of([24] * 8, batch_size=6, window_images=96, footage=footage)
    row = np.empty(192, np.int64)
    row[footage.samples] = np.arange(192)
    for batch in batches(windows, range(96)):
        ranks = row[batch]
        assert len(set((ranks // 16).tolist())) == 6  # 16 frames of a video, half of them in a window of 16 batches
    parts = list(windows.first_epoch(seed=0))
    assert sum(len(part.samples) for part, _ in parts) == 192
    assert [near_in_batch(part, num_batches=count)[0] for part, count in parts] == [0, 0]


def test_a_window_that_is_too_small_to_keep_frames_apart_is_counted() -> None:
    footage = Footage(np.arange(60, dtype=np.uint32), np.array([0, 20, 40, 60]), np.tile(np.arange(20) * 500_000, 3))
    windows = windows_of([20, 20, 20], batch_size=10, window_images=20, footage=footage)  # shards of one video each
    assert sum(near_in_batch(part, num_batches=count)[0] for part, count in windows.first_epoch(seed=0)) == 60


def test_a_window_mixes_as_well_as_is_stated() -> None:
    """Shards of 50, windows of 400, batches of 16: two of a batch share a shard in 49/399 of all pairs; 49/3199 in a full shuffle."""
    windows = windows_of([50] * 64, batch_size=16, window_images=400)
    shards = np.array(batches(windows, range(200 * 2))) // 50
    same = (shards[:, :, None] == shards[:, None, :]).sum() - shards.size
    share = same / (shards.size * 15)
    assert share == pytest.approx(49 / 399, rel=0.05)


def test_a_window_as_large_as_the_dataset_is_one_deal() -> None:
    windows = windows_of([5, 4, 5], batch_size=4, window_images=1000)
    assert windows.num_windows == 1
    assert len({sample for batch in batches(windows, range(3)) for sample in batch}) == 12
