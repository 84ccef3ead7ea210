import numpy as np
import pytest
from hypothesis import given, strategies as st

from curation.dedup.near_hash import HashShare, closest_in_share, hash_shares, hash_tables, keep_best, nothing_found, share_rows, unpacked


@given(
    base=st.integers(0, 2**64 - 1),
    flips=st.lists(st.lists(st.integers(0, 63), max_size=7), min_size=1, max_size=40),
    others=st.lists(st.integers(0, 2**64 - 1), max_size=20),
    radius=st.integers(0, 6),
    num_shares=st.integers(1, 5),
)
def test_nothing_within_the_radius_is_missed(base: int, flips: list[list[int]], others: list[int], radius: int, num_shares: int) -> None:
    values = list(dict.fromkeys([base ^ sum(1 << bit for bit in set(places)) for places in flips] + others))
    hashes = np.array(values, np.uint64)
    best = nothing_found(len(hashes))
    for mask in hash_tables(radius):
        for number in range(num_shares):
            keep_best(best, *closest_in_share(hashes, HashShare(mask, number, num_shares), radius=radius))
    bits, place = unpacked(best)
    for later, value in enumerate(values):
        near = [((value ^ other).bit_count(), earlier) for earlier, other in enumerate(values[:later])]
        assert (bits[later], place[later]) == min((pair for pair in near if pair[0] <= radius), default=(-1, -1))


def test_every_bit_is_in_a_key_and_keys_are_two_bands() -> None:
    assert hash_tables(0) == (2**64 - 1,)
    tables = hash_tables(4)
    assert len(tables) == 15
    assert np.bitwise_or.reduce(np.array(tables, np.uint64)) == 2**64 - 1


def test_a_large_table_is_cut_and_a_small_one_is_not() -> None:
    assert [share.of for share in hash_shares(0, 0)] == [1]
    assert [(share.number, share.of) for share in hash_shares(0, 5_000_000)] == [(0, 2), (1, 2)]
    assert len(hash_shares(4, 120_000_000)) == 15 * 29


@pytest.mark.parametrize("num", [2, 16, 29, 32])
def test_the_shares_of_every_table_are_about_equal(num: int) -> None:
    hashes = np.random.default_rng(0).integers(0, 1 << 64, 20_000, dtype=np.uint64)
    for mask in hash_tables(4):
        sizes = [len(share_rows(hashes, HashShare(mask, number, num))) for number in range(num)]
        assert sum(sizes) == len(hashes)
        assert max(sizes) < 1.5 * len(hashes) / num
