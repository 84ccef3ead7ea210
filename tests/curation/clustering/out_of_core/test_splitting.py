"""A first level of very many clusters over vectors on disk, fitted in cells."""

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
from hypothesis import given, settings, strategies as st

from curation.clustering import Level
from curation.clustering.out_of_core.on_disk import fit_cell_on_disk
from curation.clustering.out_of_core.vector_groups import group_vectors, grouped
from curation.embedding.vector_file import open_vectors
from tests.helpers.trees import fit_tree, fit_tree_on_disk
from tests.helpers.vectors import Interrupted, blobs, on_disk, serial

SETTINGS: dict[str, Any] = {"num_clusters": (60, 8, 2), "num_resamples": 2, "num_splits": 6, "seed": 3}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 240 rows, read 90 at a time and scanned 100 at a time; sorted by cell 70 at a time."""
    monkeypatch.setattr("curation.clustering.out_of_core.block_pass._LEAST_BLOCK_ROWS", 100)
    monkeypatch.setattr("curation.clustering.nearest._BLOCK_VALUES", 90 * 8)
    monkeypatch.setattr("curation.clustering.lloyd._SCAN_ROWS", 100)
    monkeypatch.setattr("curation.clustering.out_of_core.vector_groups._BLOCK_VALUES", 70 * 8)


def alike(found: Sequence[Level], expected: Sequence[Level]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.centroids, theirs.centroids, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(ours.assignment, theirs.assignment)
        np.testing.assert_allclose(ours.distance, theirs.distance, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("num_points", "dtype", "max_cell_points", "num_large"), [(1500, np.float16, 10_000, 0), (900, np.float32, 170, 2), (1500, "<f2", 1, 6)]
)
def test_cells_on_disk_give_what_cells_in_memory_give(
    num_points: int, dtype: npt.DTypeLike, max_cell_points: int, num_large: int, tmp_path: Path
) -> None:
    points = blobs(num_points, num_blobs=40).astype(dtype)
    said: list[str] = []
    found = fit_tree_on_disk(
        on_disk(tmp_path, points),
        SETTINGS,
        max_cell_points=max_cell_points,
        work=tmp_path / "work",
        run_map=serial,
        report=said.append,
    )
    alike(found, fit_tree(points.astype(np.float32), **SETTINGS))
    assert sum("goes by blocks" in sentence for sentence in said) == num_large
    assert not (tmp_path / "work" / "by-cell").exists()


@pytest.mark.usefixtures("small_blocks")
def test_equal_points_leave_cells_empty_and_clusters_without_points_as_in_memory(tmp_path: Path) -> None:
    points = np.repeat(blobs(3, seed=5), 60, axis=0)
    options: dict[str, Any] = {"num_clusters": (12,), "num_resamples": 1, "num_splits": 5, "seed": 0}
    alike(
        fit_tree_on_disk(on_disk(tmp_path, points), options, work=tmp_path / "work", run_map=serial),
        fit_tree(points, **options),
    )


@pytest.mark.usefixtures("small_blocks")
def test_fits_in_cells_interrupted_anywhere_go_on_and_end_alike(tmp_path: Path) -> None:
    vectors = on_disk(tmp_path, blobs(1500, num_blobs=40))
    place: dict[str, Any] = {"max_cell_points": 300}
    expected = fit_tree_on_disk(vectors, SETTINGS, work=tmp_path / "whole", run_map=serial, **place)
    fitted: list[int] = []
    for _ in range(500):  # every run is stopped after eight blocks or cells
        steps = 0

        def failing(function: Callable[..., Any], items: Sequence[Any], **shared: Any) -> Iterator[Any]:
            nonlocal steps
            for item in items:
                steps += 1
                if steps > 24:
                    raise Interrupted
                yield function(item, **shared)
                if function is fit_cell_on_disk:
                    fitted.append(item.number)
                    steps += 8

        try:
            found = fit_tree_on_disk(vectors, SETTINGS, work=tmp_path / "work", run_map=failing, **place)
            break
        except Interrupted:
            continue
    assert len(fitted) == len(set(fitted)) > 3
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.centroids, theirs.centroids)
        np.testing.assert_array_equal(ours.assignment, theirs.assignment)
        np.testing.assert_array_equal(ours.distance, theirs.distance)


KILLED = """
import json, os, signal, sys
from pathlib import Path
from curation.clustering.out_of_core import vector_groups
from curation.embedding.vector_file import open_vectors
from flows.runners.runners import ProcessRunner, successes
from tests.helpers.trees import fit_tree_on_disk

if __name__ == "__main__":
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    vector_groups._BLOCK_VALUES = 16 * 1000
    runner = ProcessRunner(2)

    def run_map(function, items, **shared):
        for number, result in enumerate(successes(runner.map(function, items, **shared), stage="cluster"), start=1):
            yield result
            if function.__name__ == "fit_cell_on_disk" and number == 3:
                os.killpg(0, signal.SIGKILL)

    with runner.reuse_workers():
        fit_tree_on_disk(open_vectors(folder / "vectors.npy"), settings, work=folder / "work", run_map=run_map)
"""


def test_a_killed_fit_keeps_its_cells_and_ends_as_another_runner_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.clustering.out_of_core.vector_groups._BLOCK_VALUES", 16 * 1000)
    on_disk(tmp_path, blobs(6000, dim=16, num_blobs=300).astype(np.float16))
    settings: dict[str, Any] = {"num_clusters": (200, 10), "num_resamples": 1, "num_splits": 20, "seed": 0}
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "killed.py"), str(tmp_path), json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, start_new_session=True, env=environment, check=False).returncode == -signal.SIGKILL
    vectors = open_vectors(tmp_path / "vectors.npy")
    said: list[str] = []
    found = fit_tree_on_disk(vectors, settings, work=tmp_path / "work", run_map=serial, report=said.append)
    assert "20 cells of up to" in said[0]
    assert 0 < int(said[0].split("vectors, ")[1].split(" ")[0]) <= 17
    expected = fit_tree_on_disk(vectors, settings, work=tmp_path / "whole", run_map=serial)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.centroids, theirs.centroids)
        np.testing.assert_array_equal(ours.assignment, theirs.assignment)


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_vectors_of_a_group_come_in_the_order_of_their_rows(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    num_points, num_groups = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 5))
    group_of = np.array(data.draw(st.lists(st.integers(0, num_groups - 1), min_size=num_points, max_size=num_points)), np.int32)
    points = np.arange(2 * num_points, dtype=np.float16).reshape(-1, 2)
    folder = tmp_path_factory.mktemp("groups")
    np.save(folder / "group-of.npy", group_of)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curation.clustering.out_of_core.vector_groups._BLOCK_VALUES", 2 * data.draw(st.integers(1, 20)))
        by_block = group_vectors(
            on_disk(folder, points), folder / "group-of.npy", num_groups=num_groups, folder=folder / "a", run_map=serial
        )
    cut = data.draw(st.integers(0, num_points))
    in_pieces = grouped([points[:cut], points[cut:]], group_of, num_groups=num_groups, folder=folder / "b", dim=2)
    for group in range(num_groups):
        expected = points[group_of == group]
        np.testing.assert_array_equal(by_block.read(group, len(expected)), expected)
        np.testing.assert_array_equal(in_pieces.read(group, len(expected)), expected)


def test_a_sorted_block_cut_short_is_written_again(tmp_path: Path) -> None:
    points, group_of = blobs(50), np.arange(50, dtype=np.int32) % 3
    np.save(tmp_path / "group-of.npy", group_of)
    vectors = on_disk(tmp_path, points)
    for _ in range(2):
        by_group = group_vectors(vectors, tmp_path / "group-of.npy", num_groups=3, folder=tmp_path / "groups", run_map=serial)
        np.testing.assert_array_equal(by_group.read(1, 17), points[1::3])
        (tmp_path / "groups" / "block-000000.npy").write_bytes(b"")
