import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, strategies as st

from curation.dedup.semantic import nearest_before
from tests.helpers.semantic_dedup import duplicates_at, semantic_dedup

Signs = npt.NDArray[np.float32]


@st.composite
def sign_vectors(draw: st.DrawFn) -> Signs:
    """Vectors of +1 and -1 in 16 dimensions: unit length is exactly a quarter of them, so cosines are exact in float32."""
    num = draw(st.integers(1, 40))
    bits = draw(st.lists(st.integers(0, 255), min_size=num, max_size=num))
    low = np.array([[1.0 if bit >> place & 1 else -1.0 for place in range(8)] for bit in bits], np.float32)
    return np.concatenate([low, np.ones((num, 8), np.float32)], axis=1)


@given(vectors=sign_vectors(), block_rows=st.integers(1, 50))
def test_blocks_agree_with_looking_at_every_pair(vectors: Signs, block_rows: int) -> None:
    nearest, similarity = nearest_before(vectors, np.arange(len(vectors)), block_rows=block_rows)
    assert nearest[0] == -1
    assert similarity[0] == -1
    for j in range(1, len(vectors)):
        cosines = [float(vectors[i] @ vectors[j]) / 16 for i in range(j)]
        assert similarity[j] == max(cosines)
        assert nearest[j] == cosines.index(max(cosines))  # the earliest of equals


@given(vectors=sign_vectors(), threshold=st.sampled_from([0.5, 0.75, 1.0]), keep=st.sampled_from(["farthest", "closest"]))
def test_what_is_removed_has_an_earlier_look_alike_and_what_stays_has_none(vectors: Signs, threshold: float, keep: str) -> None:
    result = semantic_dedup(vectors, num_clusters=1, threshold=threshold, keep="farthest" if keep == "farthest" else "closest", seed=0)
    unit = vectors / 4
    for j, i in enumerate(result.nearest):
        if i >= 0:
            assert result.similarity[j] == pytest.approx(float(unit[i] @ unit[j]), abs=1e-6)
    kept = np.flatnonzero(~result.is_duplicate)
    assert len(kept) >= 1
    pairs = unit[kept] @ unit[kept].T
    assert (pairs[~np.eye(len(kept), dtype=bool)] < threshold).all()
    assert (result.is_duplicate == (result.similarity >= threshold)).all()


def test_copies_are_found_and_one_of_each_stays() -> None:
    rng = np.random.default_rng(0)
    originals = rng.standard_normal((50, 32)).astype(np.float16)
    vectors = np.concatenate([originals, originals[:20] * np.float16(2)])
    result = semantic_dedup(vectors, num_clusters=4, threshold=0.999, seed=1)
    assert result.is_duplicate.sum() == 20
    for copy, original in zip(range(50, 70), range(20), strict=True):
        assert result.is_duplicate[copy] != result.is_duplicate[original]
        assert result.cluster_id[copy] == result.cluster_id[original]


def test_the_rule_says_which_of_two_stays() -> None:
    angles = np.radians([0, 1, 30, -30])  # the centroid lies near 0 degrees; 1 degree is the farther of the first two
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    farthest = semantic_dedup(vectors, num_clusters=1, threshold=0.99, keep="farthest", seed=0)
    closest = semantic_dedup(vectors, num_clusters=1, threshold=0.99, keep="closest", seed=0)
    assert farthest.is_duplicate.sum() == closest.is_duplicate.sum() == 1
    assert farthest.is_duplicate[:2].tolist() != closest.is_duplicate[:2].tolist()
    assert closest.nearest[closest.is_duplicate].tolist() in ([0], [1])


def test_a_removed_frame_still_removes_others() -> None:
    angles = np.radians([0, 6, 12, -40])  # 0-6 and 6-12 are alike at this threshold, 0-12 are not
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    result = semantic_dedup(vectors, num_clusters=1, threshold=float(np.cos(np.radians(7))), seed=0)
    assert result.is_duplicate[:3].sum() == 2


def test_another_threshold_needs_no_second_run() -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    loose = semantic_dedup(vectors, num_clusters=3, threshold=0.8, seed=0)
    strict = semantic_dedup(vectors, num_clusters=3, threshold=0.99, seed=0)
    assert np.array_equal(duplicates_at(strict, 0.8), loose.is_duplicate)
    assert 0 < strict.is_duplicate.sum() < loose.is_duplicate.sum()


def test_the_same_seed_gives_the_same_result() -> None:
    vectors = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    first, second = (semantic_dedup(vectors, num_clusters=5, threshold=0.9, seed=7) for _ in range(2))
    assert np.array_equal(first.nearest, second.nearest)
    assert np.array_equal(first.similarity, second.similarity)


def test_no_points_give_an_empty_result_and_one_gives_itself() -> None:
    assert len(semantic_dedup(np.empty((0, 4)), num_clusters=1, threshold=0.9, seed=0).is_duplicate) == 0
    single = semantic_dedup(np.ones((1, 4)), num_clusters=1, threshold=0.9, seed=0)
    assert (single.nearest[0], single.similarity[0], single.is_duplicate[0]) == (-1, -1, False)


def test_bad_vectors_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="zero or not finite"):
        semantic_dedup(np.zeros((3, 4)), num_clusters=1, threshold=0.9, seed=0)
    with pytest.raises(ValueError, match="zero or not finite"):
        semantic_dedup(np.full((3, 4), np.nan), num_clusters=1, threshold=0.9, seed=0)
    with pytest.raises(ValueError, match="not a cosine"):
        semantic_dedup(np.ones((3, 4)), num_clusters=1, threshold=1.5, seed=0)
    with pytest.raises(ValueError, match="give 1 to 3"):
        semantic_dedup(np.ones((3, 4)), num_clusters=4, threshold=0.9, seed=0)


def test_the_callers_vectors_stay_as_they_were() -> None:
    vectors = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    before = vectors.copy()
    semantic_dedup(vectors, num_clusters=2, threshold=0.9, seed=0)
    assert np.array_equal(vectors, before)
