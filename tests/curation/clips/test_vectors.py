from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.clips import mean_vectors, read_clip_vectors
from curation.embedding import read_part
from warehouse.records import EmbeddingPart
from warehouse.schema import embedding_schema


def part(root: Path, pack: str, vectors: dict[str, list[float]]) -> EmbeddingPart:
    table = pa.table(
        {"frame_id": list(vectors), "embedding": [np.array(row, np.float16) for row in vectors.values()]}, schema=embedding_schema(2)
    )
    pq.write_table(table, root / f"{pack}.parquet")
    return EmbeddingPart(part_id=pack, pack_id=pack, encoder_id="e", path=f"{pack}.parquet", num_frames=len(vectors), dim=2)


def test_a_clip_has_the_mean_of_its_frames_at_unit_length(tmp_path: Path) -> None:
    parts = [part(tmp_path, "p", {"a": [1, 0], "b": [0, 1], "c": [0.6, 0.8]}), part(tmp_path, "q", {"d": [-1, 0]})]
    owners = {"clip_id": ["one", "one", "two", "three"], "frame_id": ["a", "b", "c", "d"], "pack_id": ["p", "p", "p", "q"]}
    pq.write_table(pa.table(owners), tmp_path / "frames.parquet")
    told = {"clip_id": ["one", "two", "three"], "video_id": ["v", "v", "w"], "blur": pa.array([1, 2, 3], pa.float32())}
    pq.write_table(pa.table(told | {"content": pa.array([None, 1, 1], pa.int32())}), tmp_path / "clips.parquet")
    made = mean_vectors(
        tmp_path / "frames.parquet", tmp_path / "clips.parquet", parts, lake_root=tmp_path, folder="clip_vectors/x", encoder_id="e"
    )
    (written,) = made.parts
    ids, vectors = read_part(tmp_path / written.path, 2)
    assert ids == ["one", "two", "three"]
    assert vectors.astype(float) == pytest.approx(np.array([[0.7071, 0.7071], [0.6, 0.8], [-1, 0]]), abs=1e-3)
    assert read_clip_vectors(tmp_path, "clip_vectors/x") == made
    candidates = pq.read_table(tmp_path / made.clips).to_pylist()
    assert candidates[1] == {"frame_id": "two", "pack_id": written.pack_id, "video_id": "v", "blur": 2.0, "content": 1, "phash": None}
