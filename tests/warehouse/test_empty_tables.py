"""Tables without rows have an entry in DuckLake's catalog, and what comes into them later is counted and found."""

import sqlite3
from pathlib import Path

import pyarrow as pa

from warehouse.empty_tables import OFTEN_EMPTY
from warehouse.lake import open_lake
from warehouse.schema import TABLES


def entries(root: Path) -> dict[str, int]:
    with sqlite3.connect(root / "catalog.sqlite") as connection:
        return dict(
            connection.execute("SELECT t.table_name, s.record_count FROM ducklake_table t JOIN ducklake_table_stats s USING (table_id)")
        )


def test_rows_that_come_into_a_table_that_was_empty_are_counted_and_found(tmp_path: Path) -> None:
    root = tmp_path / "lake"
    with open_lake(root, create=True) as lake:
        assert entries(root) == dict.fromkeys(OFTEN_EMPTY, 0) | {"lake_schema": 1}
        for frame_id in ("f1", "f2"):
            row = dict.fromkeys(TABLES["removals"].names) | {"frame_id": frame_id}
            with lake.transaction():
                lake.append("removals", pa.Table.from_pylist([row], schema=TABLES["removals"]))
    assert entries(root)["removals"] == 2
    with open_lake(root, read_only=True) as lake:
        assert lake.rows("SELECT frame_id FROM removals WHERE frame_id > 'f1'") == [{"frame_id": "f2"}]
        assert lake.rows("SELECT count(*) AS n, min(frame_id) AS low FROM removals") == [{"n": 2, "low": "f1"}]
        assert lake.rows("SELECT count(*) AS n FROM requalified") == [{"n": 0}]
