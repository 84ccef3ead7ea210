import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from curation.clustering.out_of_core.block_pass import assign_block, blocks_of
from curation.embedding.vector_file import open_vectors, write_vectors
from tests.helpers.trees import fit_tree, fit_tree_on_disk
from tests.helpers.vectors import Interrupted, blobs, on_disk, serial

SETTINGS: dict[str, Any] = {"num_clusters": (40, 8, 2), "num_resamples": 2, "seed": 3}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 160 rows, read 90 at a time and scanned 100 at a time."""
    monkeypatch.setattr("curation.clustering.out_of_core.block_pass._LEAST_BLOCK_ROWS", 100)
    monkeypatch.setattr("curation.clustering.nearest._BLOCK_VALUES", 90 * 8)
    monkeypatch.setattr("curation.clustering.lloyd._SCAN_ROWS", 100)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("num_points", "dtype"), [(1500, np.float16), (900, np.float32)])
def test_blocks_give_what_memory_gives(num_points: int, dtype: npt.DTypeLike, tmp_path: Path) -> None:
    points = blobs(num_points, num_blobs=40).astype(dtype)
    expected = fit_tree(points.astype(np.float32), **SETTINGS)
    found = fit_tree_on_disk(on_disk(tmp_path, points), SETTINGS, work=tmp_path / "work", run_map=serial)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.centroids, theirs.centroids, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(ours.assignment, theirs.assignment)
        np.testing.assert_allclose(ours.distance, theirs.distance, rtol=1e-3, atol=1e-3)
    assert len(blocks_of(num_points, 40)) == -(-num_points // 160)


@pytest.mark.usefixtures("small_blocks")
def test_empty_clusters_are_repaired_as_in_memory(tmp_path: Path) -> None:
    points = np.repeat(np.arange(30, dtype=np.float32)[:, None] ** 2 * [1, -1], 20, axis=0).astype(np.float32)
    settings: dict[str, Any] = {"num_clusters": (29,), "num_resamples": 0, "seed": 1, "max_iterations": 1}
    (expected,) = fit_tree(points, **settings)
    (found,) = fit_tree_on_disk(on_disk(tmp_path, points), settings, work=tmp_path / "work", run_map=serial)
    assert np.bincount(found.assignment, minlength=29).min() >= 1
    np.testing.assert_allclose(found.centroids, expected.centroids)


def test_seeds_come_from_no_more_points_than_asked_for(tmp_path: Path) -> None:
    vectors = on_disk(tmp_path, blobs(2000))
    settings: dict[str, Any] = {"num_clusters": (30,), "num_resamples": 0, "seed": 0, "max_iterations": 3}
    (level,) = fit_tree_on_disk(vectors, settings, max_seed_points=30, work=tmp_path / "work", run_map=serial)
    assert level.centroids.shape == (30, 8)
    with pytest.raises(ValueError, match="30 clusters do not fit 2000 vectors and seeds out of 29"):
        fit_tree_on_disk(vectors, settings, max_seed_points=29, work=tmp_path / "other", run_map=serial)


@pytest.mark.usefixtures("small_blocks")
def test_an_interrupted_clustering_goes_on_from_its_last_pass_and_ends_alike(tmp_path: Path) -> None:
    vectors = on_disk(tmp_path, blobs(1500, num_blobs=40))
    whole: list[str] = []
    expected = fit_tree_on_disk(vectors, SETTINGS, work=tmp_path / "whole", run_map=serial, report=whole.append)
    assert len(whole) > 6
    said: list[str] = []
    for _ in range(50):  # every run is stopped in its third pass, so each gets two further
        passes = 0

        def failing(function: Callable[..., Any], items: Sequence[Any], **shared: Any) -> Iterator[Any]:
            nonlocal passes
            passes += 1
            for number, item in enumerate(items):
                if passes == 3 and number == 1:
                    raise Interrupted
                yield function(item, **shared)

        try:
            found = fit_tree_on_disk(vectors, SETTINGS, work=tmp_path / "work", run_map=failing, report=said.append)
            break
        except Interrupted:
            continue
    assert [sentence for sentence in said if "goes on" not in sentence] == whole
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.centroids, theirs.centroids)
        np.testing.assert_array_equal(ours.assignment, theirs.assignment)


KILLED = """
import json, sys
from pathlib import Path
from curation.clustering.out_of_core import block_pass
from curation.embedding.vector_file import open_vectors
from flows.runners.runners import ProcessRunner, successes
from tests.helpers.trees import fit_tree_on_disk

if __name__ == "__main__":
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    block_pass._LEAST_BLOCK_ROWS = 4000
    runner = ProcessRunner(2)
    with runner.reuse_workers():
        run_map = lambda function, items, **shared: successes(runner.map(function, items, **shared), stage="cluster")
        fit_tree_on_disk(
            open_vectors(folder / "vectors.npy"), settings, work=folder / "work", run_map=run_map, report=lambda x: print(x, flush=True)
        )
"""


def test_a_killed_clustering_does_not_start_at_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.clustering.out_of_core.block_pass._LEAST_BLOCK_ROWS", 4000)
    points = blobs(20_000, dim=16, num_blobs=300)
    vectors = on_disk(tmp_path, points)
    settings: dict[str, Any] = {"num_clusters": (100, 10), "num_resamples": 1, "seed": 0, "tolerance": 1e-6}
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path), json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    assert process.stdout is not None
    before = [process.stdout.readline() for _ in range(4)]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert "first fit, iteration 4" in before[-1]
    said: list[str] = []
    found = fit_tree_on_disk(vectors, settings, work=tmp_path / "work", run_map=serial, report=said.append)
    assert "goes on after first fit, iteration " in said[0]
    assert int(said[0].rsplit(" ", 1)[1]) >= 4
    expected = fit_tree(points, **settings)
    np.testing.assert_allclose(found[1].centroids, expected[1].centroids, rtol=1e-4, atol=1e-4)
    assert np.mean(found[0].assignment != expected[0].assignment) < 1e-3


def test_a_worker_names_points_that_are_no_numbers(tmp_path: Path) -> None:
    points = blobs(50)
    points[7, 3] = np.nan
    vectors = on_disk(tmp_path, points)
    np.save(tmp_path / "centroids.npy", blobs(5))
    with pytest.raises(ValueError, match="NaN or infinite"):
        assign_block(blocks_of(50, 5)[0], vectors=str(vectors.path), folder=str(tmp_path), with_sums=True)


def test_rows_are_read_from_a_file_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.embedding.vector_file._CHUNK_BYTES", 2 * 8 * 10)  # ten rows a piece
    points = blobs(95).astype(np.float16)
    vectors = on_disk(tmp_path, points)
    np.testing.assert_array_equal(vectors.read(13, 42), points[13:42].astype(np.float32))
    rows = np.array([94, 3, 3, 50, 9, 10])
    np.testing.assert_array_equal(vectors.take(rows), points[rows].astype(np.float32))
    np.testing.assert_array_equal(np.concatenate(list(vectors.pieces(np.sort(rows)))), points[np.sort(rows)])
    assert open_vectors(vectors.path) == vectors
    assert np.load(vectors.path, mmap_mode="r").shape == (95, 8)
    with pytest.raises(ValueError, match=r"95 vectors were written to .*, expected 96"):
        write_vectors(tmp_path / "short.npy", [points], num_rows=96, dim=8)
    assert not (tmp_path / "short.npy").exists()
