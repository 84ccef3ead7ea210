from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.embedding.vectors import gather_vectors, vectors_of
from curation.selection.leaf_vectors import vectors_by_leaf
from warehouse.records import EmbeddingPart

DIM = 3


def vector(pack: int, frame: int) -> npt.NDArray[np.float16]:
    return np.array([pack, frame, 0.5], np.float16)


@pytest.fixture
def parts(tmp_path: Path) -> list[EmbeddingPart]:
    """Four packs of ten frames; two hold lists of any size and two of a fixed one."""
    made = []
    for pack in range(4):
        values = pa.array(np.concatenate([vector(pack, frame) for frame in range(10)]))
        lists = (
            pa.FixedSizeListArray.from_arrays(values, DIM)
            if pack % 2
            else pa.ListArray.from_arrays(pa.array(np.arange(0, 10 * DIM + 1, DIM, dtype=np.int32)), values)
        )
        ids = pa.array([f"{pack}-{frame}" for frame in range(10)])
        pq.write_table(pa.table({"frame_id": ids, "embedding": lists}), tmp_path / f"{pack}.parquet", row_group_size=4)
        made.append(
            EmbeddingPart(part_id=f"part{pack}", pack_id=f"pack{pack}", encoder_id="e", path=f"{pack}.parquet", num_frames=10, dim=DIM)
        )
    return made


def ask(folder: Path, frames: list[tuple[int, int]]) -> Path:
    rows = {"frame_id": [f"{pack}-{frame}" for pack, frame in frames], "pack_id": [f"pack{pack}" for pack, _ in frames]}
    pq.write_table(pa.table(rows, schema=pa.schema({"frame_id": pa.string(), "pack_id": pa.string()})), folder / "frames.parquet")
    return folder / "frames.parquet"


@pytest.mark.parametrize("batch_rows", [1, 3, 1000])
def test_vectors_lie_in_the_order_of_the_frames(
    batch_rows: int, parts: list[EmbeddingPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.embedding.vectors._BATCH_VALUES", batch_rows * DIM)
    frames = [(2, 9), (0, 0), (1, 5), (1, 4), (0, 7), (3, 3), (2, 0)]
    expected = np.stack([vector(*frame) for frame in frames])
    found = gather_vectors(ask(tmp_path, frames), parts, lake_root=tmp_path, out=tmp_path / "vectors.npy")
    assert (found.num_rows, found.dim, str(found.dtype)) == (7, DIM, "float16")
    np.testing.assert_array_equal(np.load(tmp_path / "vectors.npy", mmap_mode="r"), expected)
    ids = pa.array([f"{pack}-{frame}" for pack, frame in frames])
    np.testing.assert_array_equal(vectors_of(ids, parts, tmp_path), expected.astype(np.float32))


def test_no_frames_give_no_vectors(parts: list[EmbeddingPart], tmp_path: Path) -> None:
    assert gather_vectors(ask(tmp_path, []), parts, lake_root=tmp_path, out=tmp_path / "vectors.npy").num_rows == 0
    assert vectors_of(pa.array([], pa.string()), parts, tmp_path).shape == (0, DIM)


def test_a_frame_without_embedding_is_named_and_nothing_is_left(parts: list[EmbeddingPart], tmp_path: Path) -> None:
    for missing in ((1, 10), (4, 0)):
        name = "-".join(map(str, missing))
        with pytest.raises(ValueError, match=f"1 frames have no embedding, such as {name}; run `endoforge embed`"):
            gather_vectors(ask(tmp_path, [(0, 1), missing]), parts, lake_root=tmp_path, out=tmp_path / "vectors.npy")
        with pytest.raises(ValueError, match=f"such as {name}"):
            vectors_of(pa.array(["0-1", name]), parts, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if "npy" in path.name) == []


def test_vectors_come_a_leaf_at_a_time_as_they_would_all_at_once(
    parts: list[EmbeddingPart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [(pack, frame) for pack in range(4) for frame in range(10)]
    leaf = np.random.default_rng(0).integers(9, size=40)
    at_once = np.stack([vector(*frame) for frame in frames]).astype(np.float32)
    asked = ask(tmp_path, frames)
    (tmp_path / "near").mkdir()
    monkeypatch.setattr("curation.embedding.vectors._BATCH_VALUES", 7 * DIM)
    for held_rows in (1, 8, 39, 40):
        monkeypatch.setattr("curation.selection.leaf_vectors._HELD_VALUES", held_rows * DIM)
        with vectors_by_leaf(asked, leaf, parts, lake_root=tmp_path, near=tmp_path / "near") as found:
            assert len(found) == 40
            assert bool(list((tmp_path / "near").iterdir())) == (held_rows < 40)
            for number in range(9):
                rows = np.flatnonzero(leaf == number)[::-1]
                np.testing.assert_array_equal(found[rows], at_once[rows])
        assert not list((tmp_path / "near").iterdir())
