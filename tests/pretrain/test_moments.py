from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.moments import read_moments


def test_videos_and_times_come_from_the_index_by_position(tmp_path: Path) -> None:
    table = pa.table(
        {
            "position": [2, 0, 1, 3, 4],
            "video_id": ["a", "b-7", "a", None, "a"],
            "frame_id": ["a-000002000500", "b-7-000000040000", "a-audited-000009000000", "c-1", "a-late"],
        }
    )
    pq.write_table(table, tmp_path / "samples.parquet")
    found = read_moments(tmp_path).of(np.array([2, 0, 1, 3, 4]))
    assert found.tolist() == [[0, 2000], [1, 40], [0, 9000], [-1, 0], [-1, -1]]


def test_a_dataset_without_these_columns_has_unknown_videos(tmp_path: Path) -> None:
    pq.write_table(pa.table({"position": [0, 1]}), tmp_path / "samples.parquet")
    assert read_moments(tmp_path).of(np.array([1, 0])).tolist() == [[-1, 0], [-1, 0]]
