from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.identified import write_batches_with_id, write_with_id
from warehouse.store import file_sha256

ROWS = {"frame_id": pa.array(["a", "b", "c"]), "rank": pa.array([0, 1, 2]), "cluster_id": pa.array([5, 5, 6], pa.int32())}


def test_the_id_and_the_file_do_not_depend_on_how_the_rows_come(tmp_path: Path) -> None:
    whole = write_with_id(tmp_path / "whole", "selections", "selection_id", ROWS)
    batches = [{name: column.slice(start, 1) for name, column in ROWS.items()} for start in range(3)]
    assert write_batches_with_id(tmp_path / "pieces", "selections", "selection_id", batches) == whole
    assert file_sha256(tmp_path / "pieces") == file_sha256(tmp_path / "whole")
    table = pq.read_table(tmp_path / "whole")
    assert table["selection_id"].to_pylist() == [whole] * 3
    assert table["rank"].to_pylist() == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pieces", "whole"]


def test_no_rows_have_an_id_too(tmp_path: Path) -> None:
    none = {name: column.slice(0, 0) for name, column in ROWS.items()}
    assert len(write_with_id(tmp_path / "none", "selections", "selection_id", none)) == 64
    assert pq.read_table(tmp_path / "none").num_rows == 0
