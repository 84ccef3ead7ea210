"""Costs by hand: rates of one unit a second, so that seconds are the formulas' counts."""

from dataclasses import replace
from math import log

import pytest

from curation.planning.cost import (
    Cost,
    Rates,
    cluster_cost,
    corrected,
    dedup_cost,
    embed_cost,
    holdout_cost,
    place_cost,
    search_cost,
    select_cost,
    shard_cost,
)

NOTHING = Rates(num_workers=2, start_s=0, load_s=0, encode_s=0, assign_flops=1e99, compare_flops=1e99, hash_s=0, order_s=0, copy_bytes=1e99)
GPU_LESS = replace(NOTHING, encode_s=0.02)


def test_embedding_is_shared_out_and_keeps_two_bytes_a_number() -> None:
    cost = embed_cost(10_000, dim=1280, rates=GPU_LESS)
    assert cost.seconds == pytest.approx(1 + 10_000 * 0.02 / 2)
    assert cost.kept_bytes == 26_260_000
    assert cost.memory_bytes == 3_800_000_000


def test_held_out_pictures_are_embedded_in_twenty_forms() -> None:
    cost = holdout_cost(100, 1000, dim=10, rates=replace(GPU_LESS, compare_flops=22e6))
    assert cost.seconds == pytest.approx(1 + (2000 * 0.02 + 20e6 * 2 / 22e6) / 2)


def test_similarity_compares_pairs_within_clusters() -> None:
    rates = replace(NOTHING, compare_flops=1.0)
    cost = search_cost(1000, dim=3, num_clusters=10, num_tables=15, rates=rates)
    assert cost.seconds == pytest.approx(1 + 2 * 3 * 75_000 / 2)  # 1.5 * 1000**2 / 20 pairs
    assert search_cost(1000, dim=3, num_clusters=10, num_tables=15, num_pairs=8, rates=rates).seconds == pytest.approx(1 + 24)
    assert cost.staged_bytes == 6 * 1000 + 1000 * (100 + 180 + 300)
    hashed = search_cost(1000, dim=3, num_clusters=10, num_tables=15, rates=replace(NOTHING, hash_s=1e-3))
    assert hashed.seconds == pytest.approx(1 + 7.5 * 1.05)  # one share a table, and a pass over all hashes for it


def test_similarity_assigns_all_to_clusters_fitted_to_a_sample() -> None:
    cost = search_cost(10_000, dim=1, num_clusters=1, num_tables=0, rates=replace(NOTHING, assign_flops=2.0))
    assert cost.seconds == pytest.approx(1 + 2 * 256 + 10_000)
    more = search_cost(10_000, dim=1, num_clusters=1, num_tables=0, rates=replace(NOTHING, assign_flops=2.0, num_workers=8, num_threads=2))
    assert more.seconds == pytest.approx(1 + 2 * 256 + 10_000 / 4)  # the fit stays in one process


def test_similarity_fits_and_assigns_very_many_clusters_in_cells() -> None:
    cost = search_cost(120_000_000, dim=384, num_clusters=48_000, num_tables=0, num_pairs=0, rates=replace(NOTHING, assign_flops=768.0))
    sample, share = 2**28 // 384, 48_000 / 219
    coarse = 9 * sample * 219 + 16 * 219 * (2 + log(219)) * 219
    own = 9 * sample / 219 * share + min(sample / 219, 16 * share) * (2 + log(share)) * share
    assert cost.seconds == pytest.approx(1 + coarse + 219 * own + 120_000_000 * (219 + 8 * share))


def test_similarity_takes_numbers_of_each_frame_and_no_text() -> None:
    def memory(num_frames: int) -> int:
        return search_cost(num_frames, dim=384, num_clusters=None, num_tables=15, rates=NOTHING).memory_bytes

    processes = 3 * 400_000_000
    assert memory(1_000_000) == processes + (80 + 800) * 1_000_000 + 2 * (4 * 384 * 400 + 12 * 384 * 2**14)
    assert memory(120_000_000) == processes + 80 * 120_000_000 + 800 * 2**20 + 2 * (4 * 384 * 48_000 + 60 * 2**22)


def test_clustering_fits_and_refits_every_level() -> None:
    cost = cluster_cost(
        1000,
        dim=1,
        num_clusters=(20, 4),
        num_resamples=1,
        resample_sizes=(5, 2),
        max_iterations=50,
        max_memory_gb=8,
        rates=replace(NOTHING, assign_flops=2.0),
    )
    first = 9 * 1000 * 20 + 320 * (2 + log(20)) * 20 + 9 * 100 * 20 + 100 * (2 + log(20)) * 20 + 1000 * 20
    second = 9 * 20 * 4 + 20 * (2 + log(4)) * 4 + 9 * 8 * 4 + 8 * (2 + log(4)) * 4 + 20 * 4
    assert cost.seconds == pytest.approx(1 + first + second)
    assert cost.kept_bytes == 4 * 24 + 1000 * 2 * 16


def test_clustering_takes_the_vectors_twice_or_the_memory_it_may() -> None:
    def memory(num_frames: int, gigabytes: float) -> int:
        return cluster_cost(
            num_frames,
            dim=1280,
            num_clusters=(100,),
            num_resamples=0,
            resample_sizes=None,
            max_iterations=9,
            max_memory_gb=gigabytes,
            rates=NOTHING,
        ).memory_bytes

    rest = 400_000_000 + 16 * 1280 * 100
    assert memory(100_000, 8) == rest + 1_024_000_000 + 4_000_000
    assert memory(100_000, 0.5) == rest + 500_000_000 + 4_000_000 + 2 * 400_000_000  # and workers, for it goes by blocks


def test_very_many_clusters_are_fitted_in_cells() -> None:
    def cost(num_clusters: int, gigabytes: float) -> Cost:
        return cluster_cost(
            1_000_000,
            dim=1,
            num_clusters=(num_clusters,),
            num_resamples=0,
            resample_sizes=None,
            max_iterations=50,
            max_memory_gb=gigabytes,
            rates=replace(NOTHING, assign_flops=2.0),
        )

    for gigabytes in (8, 0.004):
        assert cost(10_000, gigabytes).seconds < cost(9_999, gigabytes).seconds / 10
    assert [cost(10_000, gigabytes).staged_bytes for gigabytes in (8, 0.004)] == [2_000_000, 4_000_000]


def test_placing_compares_new_frames_with_the_finest_centroids() -> None:
    cost = place_cost(10, dim=4, finest=100, max_memory_gb=8, rates=replace(NOTHING, assign_flops=8.0))
    assert cost.seconds == pytest.approx(1 + 1000)
    assert cost.staged_bytes == 80


def test_tables_cost_by_the_row_and_shards_by_the_byte() -> None:
    rates = replace(NOTHING, order_s=0.001, copy_bytes=1e6)
    assert dedup_cost(1000, rates=rates).seconds == pytest.approx(3)
    selected = select_cost(1000, size=10, rates=rates)
    assert selected.seconds == pytest.approx(3)
    assert selected.memory_bytes == 400_124_000
    spread = select_cost(1000, size=10, rates=rates, spread_dim=384)
    assert spread.staged_bytes - selected.staged_bytes == 768_000
    assert spread.memory_bytes > selected.memory_bytes + 500_000_000
    sharded = shard_cost(1000, jpeg_bytes=48_900, rates=rates)
    assert sharded.kept_bytes == 50_000_000
    assert sharded.seconds == pytest.approx(1 + 25 + 2)


def test_a_former_run_corrects_what_grows_with_the_work() -> None:
    former, now = embed_cost(100, dim=2, rates=GPU_LESS), embed_cost(1000, dim=2, rates=GPU_LESS)
    assert corrected(now, former=former, took_s=4).seconds == pytest.approx(1 + 30)
    assert corrected(now, former=former, took_s=4).memory_bytes == now.memory_bytes


def test_the_start_of_workers_is_no_part_of_a_rate() -> None:
    slow = replace(GPU_LESS, start_s=4, load_s=2)
    former, now = embed_cost(100, dim=2, rates=slow), embed_cost(1000, dim=2, rates=slow)
    assert former.seconds == pytest.approx(1 + 4 + 2 + 1)
    assert corrected(now, former=former, took_s=10).seconds == pytest.approx(7 + 30)


def test_on_more_machines_the_first_level_by_blocks_is_shared_out_and_the_others_are_not() -> None:
    def seconds(num_workers: int, gigabytes: float) -> float:
        return cluster_cost(
            1000,
            dim=1,
            num_clusters=(20, 4),
            num_resamples=0,
            resample_sizes=None,
            max_iterations=50,
            max_memory_gb=gigabytes,
            rates=replace(NOTHING, num_workers=num_workers, num_threads=2, assign_flops=2.0),
        ).seconds

    first, second = 9 * 1000 * 20 + 320 * (2 + log(20)) * 20, 9 * 20 * 4 + 20 * (2 + log(4)) * 4
    assert seconds(8, 8) == pytest.approx(1 + first + second)
    assert seconds(8, 1e-9) == pytest.approx(1 + first / 4 + second)
