import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.sample import balanced_sample, water_fill

sizes_lists = st.lists(st.integers(0, 50), max_size=30)


@st.composite
def trees(draw: st.DrawFn) -> npt.NDArray[np.int32]:
    """Paths of a random three-level tree with shuffled points."""
    num_leaves = draw(st.integers(1, 12))
    to_middle = np.array(draw(st.lists(st.integers(0, 4), min_size=num_leaves, max_size=num_leaves)))
    to_top = np.array(draw(st.lists(st.integers(0, 2), min_size=5, max_size=5)))
    leaves = np.array(draw(st.lists(st.integers(0, num_leaves - 1), min_size=1, max_size=80)))
    return np.stack([leaves, to_middle[leaves], to_top[to_middle[leaves]]], axis=1).astype(np.int32)


@pytest.mark.parametrize("seed", range(5))
def test_water_filling_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert sorted(map(tuple, [water_fill([10, 2, 5], 9, rng)]))[0] in [(4, 2, 3), (3, 2, 4)]
    assert sorted(water_fill([1, 1, 1], 2, rng)) == [0, 1, 1]
    assert list(water_fill([4, 4], 20, rng)) == [4, 4]
    assert list(water_fill([4, 0, 4], 0, rng)) == [0, 0, 0]
    assert list(water_fill([5, 5, 5], 15, rng)) == [5, 5, 5]
    assert list(water_fill([], 3, rng)) == []


def test_the_remainder_goes_to_every_large_vessel_in_turn() -> None:
    shares = {tuple(water_fill([10, 2, 5], 9, np.random.default_rng(seed))) for seed in range(30)}
    assert shares == {(4, 2, 3), (3, 2, 4)}


@given(sizes=sizes_lists, total=st.integers(0, 1000), seed=st.integers(0, 9))
def test_every_share_is_the_size_or_the_level_or_one_more(sizes: list[int], total: int, seed: int) -> None:
    shares = water_fill(sizes, total, np.random.default_rng(seed))
    assert shares.sum() == min(total, sum(sizes))
    assert all(share <= size for share, size in zip(shares, sizes, strict=True))
    cut = [int(share) for share, size in zip(shares, sizes, strict=True) if share < size]
    if cut:
        level = min(cut)
        assert all(share in (size, level, level + 1) for share, size in zip(shares, sizes, strict=True))
        assert all(share >= min(level, size) for share, size in zip(shares, sizes, strict=True))


def test_negative_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="none may be negative"):
        water_fill([3, -1], 2, np.random.default_rng(0))


@given(paths=trees(), size=st.integers(0, 100), seed=st.integers(0, 9))
def test_the_sample_has_the_exact_size_and_no_repeats(paths: npt.NDArray[np.int32], size: int, seed: int) -> None:
    chosen = balanced_sample(paths, size, within_leaf="random", seed=seed)
    assert len(chosen) == min(size, len(paths))
    assert len(set(chosen.tolist())) == len(chosen)
    assert np.array_equal(chosen, np.sort(chosen))
    assert np.array_equal(chosen, balanced_sample(paths, size, within_leaf="random", seed=seed))


@given(paths=trees(), size=st.integers(0, 100), seed=st.integers(0, 9))
def test_siblings_get_equal_shares_at_every_level(paths: npt.NDArray[np.int32], size: int, seed: int) -> None:
    chosen = balanced_sample(paths, size, within_leaf="random", seed=seed)
    for level in range(3):
        parents = paths[:, level + 1] if level < 2 else np.zeros(len(paths), np.int32)
        for parent in np.unique(parents):
            children = np.unique(paths[parents == parent, level])
            taken = [int((paths[chosen, level] == child).sum()) for child in children]
            available = [int((paths[:, level] == child).sum()) for child in children]
            cut = [count for count, size_ in zip(taken, available, strict=True) if count < size_]
            if cut:
                assert all(count in (size_, min(cut), min(cut) + 1) for count, size_ in zip(taken, available, strict=True))


@given(paths=trees(), size=st.integers(0, 100), cap=st.integers(1, 5), data=st.data())
def test_no_group_passes_its_cap_and_the_size_is_the_most_that_allows(
    paths: npt.NDArray[np.int32], size: int, cap: int, data: st.DataObject
) -> None:
    groups = np.array(data.draw(st.lists(st.sampled_from("abc"), min_size=len(paths), max_size=len(paths))))
    chosen = balanced_sample(paths, size, within_leaf="random", seed=0, groups=groups, max_per_group=cap)
    counts = np.unique(groups, return_counts=True)[1]
    assert len(chosen) == min(size, int(np.minimum(counts, cap).sum()))
    assert len(set(chosen.tolist())) == len(chosen)
    assert np.unique(groups[chosen], return_counts=True)[1].max(initial=0) <= cap


def test_a_thinned_group_keeps_its_rare_cluster() -> None:
    paths = np.array([[0, 0]] * 50 + [[1, 1]] * 2, np.int32)
    chosen = balanced_sample(paths, 4, within_leaf="random", seed=0, groups=np.zeros(52), max_per_group=4)
    assert (paths[chosen, 0] == 1).sum() == 2


def test_the_closest_points_of_a_leaf_come_first() -> None:
    paths = np.zeros((5, 1), np.int32)
    distance = np.array([0.5, 0.1, 0.3, 0.1, 0.9])
    assert balanced_sample(paths, 3, within_leaf="closest", distance=distance, seed=0).tolist() == [1, 2, 3]


def test_a_long_tail_is_levelled() -> None:
    paths = np.repeat(np.array([[0], [1], [2]], np.int32), [10_000, 100, 10], axis=0)
    chosen = balanced_sample(paths, 150, within_leaf="random", seed=3)
    assert np.bincount(paths[chosen, 0]).tolist() == [70, 70, 10]


def test_random_picks_differ_by_seed() -> None:
    paths = np.zeros((1000, 1), np.int32)
    picks = [balanced_sample(paths, 10, within_leaf="random", seed=seed).tolist() for seed in (1, 1, 2)]
    assert picks[0] == picks[1] != picks[2]


def test_arguments_that_do_not_fit_are_refused() -> None:
    paths = np.array([[0, 0], [0, 1]], np.int32)
    with pytest.raises(ValueError, match="lie in more than one cluster of the level above"):
        balanced_sample(paths, 1, within_leaf="random", seed=0)
    with pytest.raises(ValueError, match="needs their distance"):
        balanced_sample(paths, 1, within_leaf="closest", seed=0)
    with pytest.raises(ValueError, match=r"groups has shape \(3,\); 2 paths need \(2,\)"):
        balanced_sample(paths, 1, within_leaf="random", seed=0, groups=np.zeros(3))
    with pytest.raises(ValueError, match="needs groups"):
        balanced_sample(paths, 1, within_leaf="random", seed=0, max_per_group=1)
