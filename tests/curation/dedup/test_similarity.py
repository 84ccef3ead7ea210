"""The staged search for duplicates and the decision by its scores, on candidates of which everything is known."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from curation.clustering.out_of_core.block_pass import Block
from curation.dedup.config import DedupConfig
from curation.dedup.dedup_clusters import assign_points, fit_clusters, unit as scaled
from curation.dedup.deduplicate import decide_duplicates
from curation.dedup.similarity import assign_rows, prepare_search, search_clusters, search_hashes
from curation.dedup.similarity_rows import collect_similarities
from curation.embedding.vector_file import write_vectors
from tests.helpers.semantic_dedup import semantic_dedup
from warehouse.records import EmbeddingPart
from warehouse.schema import embedding_schema

CONFIG = DedupConfig(dedup_threshold=0.9, dedup_hash_distance=2, num_dedup_clusters=1)
Row = tuple[int, int | None, int]
"""content, hash (None: the lake has none) and direction of a frame: frames of one content are equal in the others too"""


def unit(directions: list[int]) -> npt.NDArray[np.float16]:
    rng = np.random.default_rng(5)
    points = rng.standard_normal((40, 6))
    points[1::2] = points[::2] + 0.15 * points[1::2]  # in pairs that are alike
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points[directions].astype(np.float16)


def here(function: Any, items: Sequence[Any], **shared: Any) -> Iterator[Any]:
    return (function(item, **shared) for item in items)


def decided(rows: list[Row], config: DedupConfig = CONFIG) -> dict[str, dict[str, Any]]:
    """The `dedup` rows by frame id; frame i of `rows` is called f00i."""
    ids = [f"f{number:03d}" for number in range(len(rows))]
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        vectors = unit([direction for _, _, direction in rows])
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        pq.write_table(pa.table({"frame_id": ids, "embedding": lists}, schema=embedding_schema(vectors.shape[1])), root / "part.parquet")
        part = EmbeddingPart(part_id="p", pack_id="pack", encoder_id="e", path="part.parquet", num_frames=len(ids), dim=vectors.shape[1])
        table = pa.table(
            {
                "frame_id": ids,
                "pack_id": ["pack"] * len(ids),
                "content": pa.array([content for content, _, _ in rows], pa.int32()),
                "phash": pa.array([bits for _, bits, _ in rows], pa.uint64()),
                "blur": pa.array(range(len(rows)), pa.float32()),
            }
        )
        candidates, folder = root / "candidates.parquet", root / "search"
        pq.write_table(table, candidates)
        search = prepare_search(candidates, [part], lake_root=root, folder=folder, config=config, seed=0, run_map=here)
        cosines = [search_clusters(item, folder=str(folder))[1] for item in search.segments]
        tables = [search_hashes(share, folder=str(folder), radius=config.dedup_hash_radius) for share in search.hash_shares]
        collect_similarities(candidates, folder=folder, cosines=cosines, tables=tables, out=root / "similarities.parquet")
        decide_duplicates(root / "similarities.parquet", out=root / "dedup.parquet", config=config)
        return {row["frame_id"]: row for row in pq.read_table(root / "dedup.parquet").to_pylist()}


@st.composite
def candidates(draw: st.DrawFn) -> list[Row]:
    hashes = st.one_of(st.integers(0, 255), st.none())
    contents = draw(st.lists(st.tuples(hashes, st.integers(0, 39)), min_size=1, max_size=12))
    chosen = draw(st.lists(st.integers(0, len(contents) - 1), min_size=1, max_size=20))
    return [(content, *contents[content]) for content in chosen]


def test_a_copy_a_look_alike_and_a_similar_frame_are_told_apart() -> None:
    # by sharpness f003 ranks first: f002 is its copy, f001 differs by one bit of the hash, f000 lies in the same direction
    rows: list[Row] = [(0, 0xFF00, 1), (1, 0x0001, 8), (2, 0x0000, 0), (2, 0x0000, 0)]
    found = decided(rows, replace(CONFIG, dedup_keep="sharpest"))
    assert {frame: row["kind"] for frame, row in found.items()} == {"f000": "semantic", "f001": "perceptual", "f002": "exact", "f003": None}
    assert [found[frame]["nearest_frame_id"] for frame in ("f000", "f001", "f002")] == ["f003"] * 3
    assert found["f001"]["hash_distance"] == 1


def test_a_frame_without_a_hash_is_no_look_alike_and_hides_none() -> None:
    # f003 ranks first and f000 has its hash; f001 and f002 have none, whatever they show
    rows: list[Row] = [(0, 0x0000, 4), (1, None, 8), (2, None, 12), (3, 0x0000, 0)]
    found = decided(rows, replace(CONFIG, dedup_keep="sharpest"))
    assert {frame: row["kind"] for frame, row in found.items()} == {"f000": "perceptual", "f001": None, "f002": None, "f003": None}
    assert {frame: row["hash_distance"] for frame, row in found.items()} == {"f000": 0, "f001": None, "f002": None, "f003": None}
    nothing_hashed = decided([(number, None, 4 * number) for number in range(3)])
    assert [row["kind"] for row in nothing_hashed.values()] == [None] * 3


@settings(max_examples=25, deadline=None)
@given(rows=candidates())
def test_of_each_content_one_at_most_stays_and_something_always_does(rows: list[Row]) -> None:
    found = decided(rows)
    assert any(not row["is_duplicate"] for row in found.values())
    for content in {content for content, _, _ in rows}:
        group = [found[f"f{number:03d}"] for number, row in enumerate(rows) if row[0] == content]
        assert [row["kind"] for row in group].count("exact") == len(group) - 1


def test_a_frame_that_shares_its_content_with_none_needs_no_number_of_it() -> None:
    rows: list[Row] = [(0, 1 << 10, 0), (1, 1 << 20, 8), (0, 1 << 10, 0)]
    unnumbered: list[Any] = [(0, 1 << 10, 0), (None, 1 << 20, 8), (0, 1 << 10, 0)]
    assert decided(unnumbered) == decided(rows)


@settings(max_examples=20, deadline=None)
@given(rows=candidates())
def test_decisions_grow_with_the_threshold(rows: list[Row]) -> None:
    found = decided(rows)
    looser = decided(rows, replace(CONFIG, dedup_threshold=0.5, dedup_hash_distance=4))
    assert {frame for frame, row in found.items() if row["is_duplicate"]} <= {f for f, row in looser.items() if row["is_duplicate"]}


@settings(max_examples=15, deadline=None)
@given(directions=st.lists(st.integers(0, 39), min_size=1, max_size=20))
def test_cosines_are_those_of_the_rule_in_one_process(directions: list[int]) -> None:
    rows: list[Row] = [(number, number * 0x0101010101010101, direction) for number, direction in enumerate(directions)]
    found = decided(rows)
    expected = semantic_dedup(unit(directions), num_clusters=1, threshold=0.9, seed=0)
    similarity = [row["similarity"] for row in found.values()]
    np.testing.assert_allclose([-1 if value is None else value for value in similarity], expected.similarity, atol=1e-6)


def test_a_worker_assigns_its_block_by_the_staged_clusters(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((6000, 8)).astype(np.float16)
    write_vectors(tmp_path / "vectors.npy", [vectors], num_rows=len(vectors), dim=8)
    clusters = fit_clusters(scaled(vectors[:1000]), 5, rng=np.random.default_rng(1))
    np.savez(tmp_path / "clusters.npz", coarse=clusters.coarse, fine=clusters.fine, first=clusters.first)
    with np.load(tmp_path / assign_rows(Block(3, 1000, 5000), folder=str(tmp_path))) as found:
        cluster_id, distance = assign_points(scaled(vectors[1000:5000]), clusters)
        assert found["cluster_id"].tolist() == cluster_id.tolist()
        np.testing.assert_allclose(found["distance"], distance, atol=1e-3)
    write_vectors(tmp_path / "vectors.npy", [np.zeros((10, 8))], num_rows=10, dim=8)
    with pytest.raises(ValueError, match="zero or not finite"):
        assign_rows(Block(0, 0, 10), folder=str(tmp_path))
