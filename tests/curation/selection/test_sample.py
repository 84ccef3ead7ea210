from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from curation.selection.balance import balanced_order
from curation.selection.caps import within_caps
from curation.selection.config import SampleConfig
from curation.selection.diverse import farthest_first
from curation.selection.draws import draws_of_ids, mix
from curation.selection.sample import balanced_sample
from curation.selection.weight_spec import parse_weights
from curation.selection.weights import frame_weights

Paths = npt.NDArray[np.int32]


@st.composite
def trees(draw: st.DrawFn) -> Paths:
    """Paths of a random three-level tree with shuffled points."""
    num_leaves = draw(st.integers(1, 12))
    to_middle = np.array(draw(st.lists(st.integers(0, 4), min_size=num_leaves, max_size=num_leaves)))
    to_top = np.array(draw(st.lists(st.integers(0, 2), min_size=5, max_size=5)))
    leaves = np.array(draw(st.lists(st.integers(0, num_leaves - 1), min_size=1, max_size=80)))
    return np.stack([leaves, to_middle[leaves], to_top[to_middle[leaves]]], axis=1).astype(np.int32)


def draws(num_points: int, seed: int = 0) -> npt.NDArray[np.uint64]:
    return mix(np.arange(num_points) + 1000 * seed)


def siblings(paths: Paths, level: int) -> list[list[npt.NDArray[np.bool_]]]:
    """For each cluster above `level`, which points lie in each of its children."""
    parents = paths[:, level + 1] if level + 1 < paths.shape[1] else np.zeros(len(paths), np.int32)
    return [[paths[:, level] == child for child in np.unique(paths[parents == parent, level])] for parent in np.unique(parents)]


def one_level(sizes: Sequence[int], size: int, seed: int) -> list[int]:
    """How many a sample takes of clusters of these sizes."""
    paths = np.repeat(np.arange(len(sizes)), sizes)[:, None]
    chosen, _ = balanced_sample(paths, size, within_leaf="random", draws=draws(len(paths), seed), seed=seed)
    counts: list[int] = np.bincount(paths[chosen, 0], minlength=len(sizes)).tolist()
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_shares_by_hand(seed: int) -> None:
    assert one_level([10, 2, 5], 9, seed) in ([4, 2, 3], [3, 2, 4])
    assert sorted(one_level([1, 1, 1], 2, seed)) == [0, 1, 1]
    assert one_level([4, 4], 20, seed) == [4, 4]
    assert one_level([4, 0, 4], 0, seed) == [0, 0, 0]
    assert one_level([10_000, 100, 10], 150, seed) == [70, 70, 10]


def test_the_remainder_goes_to_every_large_cluster_in_turn() -> None:
    assert {tuple(one_level([10, 2, 5], 9, seed)) for seed in range(30)} == {(4, 2, 3), (3, 2, 4)}
    firsts = [one_level([3] * 4, 1, seed).index(1) for seed in range(400)]
    assert np.bincount(firsts, minlength=4).min() > 70  # 100 each, give or take


@given(paths=trees(), seed=st.integers(0, 9))
def test_every_beginning_is_level_at_every_level(paths: Paths, seed: int) -> None:
    order = balanced_order(paths, priority=draws(len(paths)), seed=seed)
    assert sorted(order.tolist()) == list(range(len(paths)))
    for level in range(3):
        for children in siblings(paths, level):
            for size in range(len(paths) + 1):
                taken = [int(child[order[:size]].sum()) for child in children]
                cut = [count for count, child in zip(taken, children, strict=True) if count < child.sum()]
                assert all(count in (child.sum(), min(cut), min(cut) + 1) for count, child in zip(taken, children, strict=True) if cut)
                assert all(count >= min(cut) or count == child.sum() for count, child in zip(taken, children, strict=True) if cut)


@given(paths=trees(), seed=st.integers(0, 9), factors=st.lists(st.sampled_from([0.3, 0.5, 1.0, 3.0]), min_size=12, max_size=12))
def test_every_beginning_is_in_proportion_to_the_weights(paths: Paths, seed: int, factors: list[float]) -> None:
    weights = np.array(factors)[paths[:, 0]]
    order = balanced_order(paths, priority=draws(len(paths)), seed=seed, weights=weights)
    assert sorted(order.tolist()) == list(range(len(paths)))
    means = {(0, int(leaf)): factors[leaf] for leaf in np.unique(paths[:, 0])}
    for level in (1, 2):
        for parent in np.unique(paths[:, level]):
            children = np.unique(paths[paths[:, level] == parent, level - 1])
            means[level, int(parent)] = float(np.mean([means[level - 1, int(child)] for child in children]))
    for level in range(3):
        for group in siblings(paths, level):
            weight = np.array([means[level, int(paths[child, level][0])] for child in group])
            held = np.array([child.sum() for child in group])
            for size in range(len(paths) + 1):
                taken = np.array([child[order[:size]].sum() for child in group])
                last_turn = (taken / weight).max()  # no one had a turn later than one that somebody still waits for
                assert last_turn <= ((taken + 1) / weight)[taken < held].min(initial=np.inf) * (1 + 1e-6)


def test_a_weight_of_three_takes_three_turns_while_others_take_one() -> None:
    paths = np.repeat(np.arange(3), 100)[:, None].astype(np.int32)
    weights = np.where(paths[:, 0] == 1, 3.0, 1.0)
    order = balanced_order(paths, priority=draws(300), seed=4, weights=weights)
    assert np.bincount(paths[order[:50], 0]).tolist() == [10, 30, 10]
    assert np.bincount(paths[order[:200], 0]).tolist() == [50, 100, 50]  # until it is empty


def test_frames_of_a_weighted_value_are_that_many_times_as_frequent_wherever_they_lie() -> None:
    # top cluster 0: a leaf of Oslo alone, one without; top cluster 1: one leaf, every fourth from Oslo
    paths = np.repeat(np.array([[0, 0], [1, 0], [2, 1]], np.int32), 4000, axis=0)
    oslo = np.concatenate([np.ones(4000, bool), np.zeros(4000, bool), np.arange(4000) % 4 == 0])
    plain = balanced_order(paths, priority=draws(12_000), seed=0)[:1200]
    before = np.bincount(paths[plain, 0] + 3 * oslo[plain], minlength=6) / 1200
    order = balanced_order(paths, priority=draws(12_000), seed=0, weights=np.where(oslo, 2.0, 1.0))[:1200]
    after = np.bincount(paths[order, 0] + 3 * oslo[order], minlength=6) / 1200
    expected = before * [1, 1, 1, 2, 2, 2]
    assert after == pytest.approx(expected / expected.sum(), abs=0.02)


@given(paths=trees(), seed=st.integers(0, 9), rule=st.sampled_from(["random", "closest", "diverse"]), data=st.data())
def test_samples_are_exact_nested_capped_and_the_same_for_rows_in_any_order(
    paths: Paths, seed: int, rule: str, data: st.DataObject
) -> None:
    num_points = len(paths)
    rng = np.random.default_rng(seed)
    numbers = draws(num_points, seed)
    distance, vectors = rng.random(num_points).round(1), rng.normal(size=(num_points, 3)).round(1)
    weights = data.draw(st.sampled_from([None, rng.choice([0.5, 1.0, 2.0], num_points)]))
    kinds = data.draw(st.integers(0, 3))
    groups = [rng.integers(-1, 4, num_points) for _ in range(kinds)]
    limits = [data.draw(st.integers(1, 6)) for _ in range(kinds)]

    def sample(rows: npt.NDArray[np.int64], size: int) -> tuple[list[int], int]:
        chosen, allowed = balanced_sample(
            paths[rows],
            size,
            within_leaf=rule,  # type: ignore[arg-type]
            draws=numbers[rows],
            seed=seed,
            distance=distance[rows],
            vectors=vectors[rows],
            weights=None if weights is None else weights[rows],
            caps=[(group[rows], cap) for group, cap in zip(groups, limits, strict=True)],
        )
        return rows[chosen].tolist(), allowed

    everything, allowed = sample(np.arange(num_points), num_points)
    assert len(everything) == len(set(everything)) == allowed
    for group, cap in zip(groups, limits, strict=True):
        known = group[everything]
        assert np.bincount(known[known >= 0], minlength=1).max() <= cap
    for left in set(range(num_points)) - set(everything):  # and no one could be added
        assert any(group[left] >= 0 and (group[everything] == group[left]).sum() == cap for group, cap in zip(groups, limits, strict=True))
    shuffled = np.random.default_rng(seed + 1).permutation(num_points)
    for size in (0, 1, num_points // 3, num_points - 1):
        beginning, _ = sample(np.arange(num_points), size)
        assert beginning == everything[:size] or rule == "diverse"
        assert len(beginning) == min(size, allowed)
        assert set(beginning) <= set(everything)
        assert sample(shuffled, size)[0] == beginning
    sizes = [set(sample(np.arange(num_points), size)[0]) for size in (num_points // 5, num_points // 3, num_points // 2)]
    assert sizes[0] <= sizes[1] <= sizes[2]
    kept = np.array(sorted(everything), int)
    if weights is None:  # water-filling over what the caps leave
        half = set(everything[: allowed // 2])
        for level in range(3):
            for children in siblings(paths[kept], level):
                taken = [len(half & set(kept[child].tolist())) for child in children]
                cut = [count for count, child in zip(taken, children, strict=True) if count < child.sum()]
                assert all(count in (child.sum(), min(cut), min(cut) + 1) for count, child in zip(taken, children, strict=True) if cut)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(0, 9),
)
def test_caps_within_caps_keep_the_most_there_can_be(points: list[tuple[int, int]], per_video: int, per_patient: int, seed: int) -> None:
    video = np.array([2 * video + patient for video, patient in points])
    patient = video % 2
    order = np.random.default_rng(seed).permutation(len(video))
    kept = within_caps(order, [(patient, per_patient), (video, per_video)])
    most = sum(min(per_patient, sum(min(per_video, int((video == v).sum())) for v in np.unique(video[patient == p]))) for p in (0, 1))
    assert len(kept) == most
    assert [row for row in order.tolist() if row in set(kept.tolist())] == kept.tolist()


def test_unknown_groups_are_not_capped() -> None:
    groups = np.array([-1, 0, -1, 0, -1, 0])
    assert within_caps(np.arange(6), [(groups, 1)]).tolist() == [0, 1, 2, 4]
    assert within_caps(np.arange(3), [(np.full(3, -1), 1)]).tolist() == [0, 1, 2]


def test_a_point_of_two_groups_counts_for_both_caps() -> None:
    groups = np.array([[0, 1], [0, -1], [1, -1], [2, -1], [1, -1]])
    assert within_caps(np.arange(5), [(groups, 1)]).tolist() == [0, 3]  # the first fills both groups
    assert within_caps(np.array([1, 0, 2, 3, 4]), [(groups, 1)]).tolist() == [1, 2, 3]
    assert within_caps(np.arange(5), [(groups, 2)]).tolist() == [0, 1, 2, 3]


def test_a_thinned_group_keeps_its_rare_cluster() -> None:
    paths = np.array([[0, 0]] * 50 + [[1, 1]] * 2, np.int32)
    chosen, allowed = balanced_sample(paths, 9, within_leaf="random", draws=draws(52), seed=0, caps=[(np.zeros(52, int), 4)])
    assert (paths[chosen, 0] == 1).sum() == 2
    assert len(chosen) == allowed == 4


def test_the_closest_points_of_a_leaf_come_first() -> None:
    distance = np.array([0.5, 0.1, 0.3, 0.2, 0.9])
    chosen, _ = balanced_sample(np.zeros((5, 1), int), 3, within_leaf="closest", distance=distance, draws=draws(5), seed=0)
    assert chosen.tolist() == [1, 3, 2]


def test_the_farthest_point_comes_next() -> None:
    line = np.array([[0.0], [1.0], [4.0], [10.0], [10.0]])
    assert farthest_first(line, 5, first=1).tolist() == [1, 3, 2, 0, 4]
    assert farthest_first(line, 2, first=0).tolist() == [0, 3]
    chosen, _ = balanced_sample(
        np.zeros((5, 1), int), 3, within_leaf="diverse", distance=np.abs(line[:, 0] - 4), vectors=line, draws=draws(5), seed=0
    )
    assert chosen[0] == 2
    assert chosen[1] in (3, 4)  # as far as each other: the draw settles it
    assert chosen[2] == 0


@given(st.integers(0, 1000), st.integers(2, 30))
def test_farthest_first_spreads_at_least_half_as_wide_as_any_choice_of_three(seed: int, num_points: int) -> None:
    points = np.random.default_rng(seed).normal(size=(num_points, 2))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    a, b, c = farthest_first(points, 3, first=0) if num_points > 2 else (0, 1, 1)
    if num_points > 2:
        widest = max(min(apart[i, j], apart[j, k], apart[i, k]) for i in range(num_points) for j in range(i) for k in range(j))
        assert min(apart[a, b], apart[b, c], apart[a, c]) >= widest / 2 - 1e-6


def test_draws_go_with_the_id_and_the_seed() -> None:
    ids = pa.array(["a", "video-1-00000000042", "b", "é", "video-1-00000000043"])
    found = draws_of_ids(ids, seed=3)
    assert len(set(found.tolist())) == 5
    assert draws_of_ids(ids.take(pa.array([2, 0])), seed=3).tolist() == [found[2], found[0]]
    assert draws_of_ids(pa.chunked_array([ids, ids]), seed=3).tolist() == [*found, *found]
    assert not set(draws_of_ids(ids, seed=4).tolist()) & set(found.tolist())
    many = draws_of_ids(pa.array([f"{number:08d}" for number in range(20_000)]), seed=0)
    assert np.abs(np.bincount(many >> np.uint64(60), minlength=16) - 1250).max() < 175  # five standard deviations


def test_weights_are_read_and_looked_up() -> None:
    weights = parse_weights(["cluster:2/17=3", "site:Oslo=2", "procedure:a=b:c=0.5"])
    assert [(weight.kind, weight.value, weight.factor) for weight in weights] == [
        ("cluster", "2/17", 3.0),
        ("site", "Oslo", 2.0),
        ("procedure", "a=b:c", 0.5),
    ]
    paths = np.array([[0, 17], [1, 4], [2, 17]])
    sites = [pa.chunked_array([["Oslo", None, "Bergen"]])]
    metadata = {"site": sites, "procedure": [pa.chunked_array([["a=b:c", "a=b:c", None]])]}
    also_in_oslo = {**metadata, "site": [*sites, pa.chunked_array([pa.array([None, None, "Oslo"], pa.string())])]}
    assert frame_weights(weights, paths, also_in_oslo).tolist() == [3.0, 0.5, 6.0]
    assert frame_weights(weights, paths, metadata).tolist() == [3.0, 0.5, 3.0]
    with pytest.raises(ValueError, match=r"site:Rome names a site that no candidate has; known: Bergen \(1 frames\), Oslo \(1 frames\)"):
        frame_weights(parse_weights(["site:Rome=2"]), paths, metadata)
    with pytest.raises(ValueError, match="none is known: give a manifest with the column device"):
        frame_weights(parse_weights(["device:X=2"]), paths, {"device": [pa.chunked_array([pa.array([None] * 3, pa.string())])]})
    with pytest.raises(ValueError, match=r"names level 3; the levels are 1 \(finest\) to 2"):
        frame_weights(parse_weights(["cluster:3/1=2"]), paths, metadata)
    with pytest.raises(ValueError, match="those of level 1 are 0 to 2"):
        frame_weights(parse_weights(["cluster:1/9=2"]), paths, metadata)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Oslo=2", "not KIND:VALUE=FACTOR"),
        ("town:Oslo=2", "one of cluster, site, device"),
        ("site:=2", "not KIND:VALUE=FACTOR"),
        ("site:Oslo=much", "give a number, as in site:Oslo=2"),
        ("site:Oslo=0", "give 0.001 to 1000"),
        ("site:Oslo=nan", "give 0.001 to 1000"),
        ("cluster:17=2", "give cluster:LEVEL/ID=FACTOR"),
        ("cluster:1/-2=2", "give cluster:LEVEL/ID=FACTOR"),
    ],
)
def test_weights_that_mean_nothing_are_refused_before_any_work(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleConfig(weights=(text,))


def test_a_weight_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="a second time"):
        SampleConfig(weights=("site:Oslo=2", "site:Oslo=3"))


def test_arguments_that_do_not_fit_are_refused() -> None:
    paths = np.array([[0, 0], [0, 1]], np.int32)
    with pytest.raises(ValueError, match="lie in more than one cluster of the level above"):
        balanced_sample(paths, 1, within_leaf="random", draws=draws(2), seed=0)
    flat = np.zeros((2, 1), int)
    with pytest.raises(ValueError, match="pass distance"):
        balanced_sample(flat, 1, within_leaf="closest", draws=draws(2), seed=0)
    with pytest.raises(ValueError, match="pass vectors"):
        balanced_sample(flat, 1, within_leaf="diverse", draws=draws(2), distance=np.zeros(2), seed=0)
    with pytest.raises(ValueError, match="draws has length 3; 2 paths"):
        balanced_sample(flat, 1, within_leaf="random", draws=draws(3), seed=0)
    with pytest.raises(ValueError, match=r"groups of shape \(3,\)"):
        balanced_sample(flat, 1, within_leaf="random", draws=draws(2), seed=0, caps=[(np.zeros(3, int), 1)])
    with pytest.raises(ValueError, match="a cap of 0"):
        balanced_sample(flat, 1, within_leaf="random", draws=draws(2), seed=0, caps=[(np.zeros(2, int), 0)])
    with pytest.raises(ValueError, match="not above 0"):
        balanced_sample(flat, 1, within_leaf="random", draws=draws(2), seed=0, weights=np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="negative"):
        balanced_sample(flat, -1, within_leaf="random", draws=draws(2), seed=0)
