from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from curation.dedup.frame_ids import FrameIds, read_frame_ids


def read(ids: list[str]) -> FrameIds:
    with TemporaryDirectory() as folder:
        pq.write_table(pa.table({"frame_id": pa.array(ids, pa.string())}), Path(folder, "frames.parquet"), row_group_size=3)
        return read_frame_ids(Path(folder, "frames.parquet"))


def test_the_frames_of_a_video_share_what_their_ids_begin_with() -> None:
    ids = [f"{video * 64}-{second * 10**6:012d}" for video in "ab" for second in range(3)]
    found = read(ids)
    assert found.beginnings.to_pylist() == ["a" * 64, "b" * 64]
    assert found.ends.dtype == "S13"
    assert found.at(np.array([5, -1, 0])).to_pylist() == [ids[5], None, ids[0]]


@given(ids=st.sets(st.text("ab-0", min_size=1, max_size=30), min_size=1, max_size=20).map(sorted))
def test_any_ids_are_kept(ids: list[str]) -> None:
    found = read(ids)
    assert len(found) == len(ids)
    assert found.at(np.arange(len(ids))).to_pylist() == ids


def test_ids_out_of_order_or_twice_are_refused_and_none_are_none() -> None:
    assert len(read([])) == 0
    for ids in (["b", "a"], ["a", "a"], ["a", "b", "c", "c"], ["a", "b", "d", "c"]):
        with pytest.raises(ValueError, match="ascending order"):
            read(ids)
