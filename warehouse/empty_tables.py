"""Row counts of tables that have no rows yet, which DuckLake leaves out and then looks for again and again.

DuckLake writes a table's entry in `ducklake_table_stats` with its first rows. Until then it finds none, and reads the catalog anew for
each use of the table in a query: `current_frames`, over three empty tables, took 206 statements on the catalog to plan instead of 14.
An entry of 0 rows is what the format says of such a table (https://ducklake.select, Specification, ducklake_table_stats).
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

__all__ = ["OFTEN_EMPTY", "count_empty_tables"]

OFTEN_EMPTY = (
    "removals",
    "requalified",
    "private_decisions",
    "private_audits",
    "private_audit_frames",
    "audits",
    "audit_frames",
    "rejects",
    "left_files",
    "damaged_images",
    "manifest_videos",
)
"""Tables that views read and that stay empty in many lakes. DuckLake keeps no least and greatest values for a table that began with such an
entry, so no large table is among them: files of Parquet keep theirs."""
_BUSY_SECONDS = 30.0


def count_empty_tables(catalog: Path) -> None:
    """Write an entry of 0 rows for those of `OFTEN_EMPTY` that have none; no DuckLake may write to the catalog meanwhile.

    Args:
        catalog: a SQLite catalog of DuckLake. A Postgres one needs it less: it is not read anew by parsing a file.
    """
    with contextlib.closing(sqlite3.connect(catalog, timeout=_BUSY_SECONDS)) as connection, connection:
        connection.execute(
            f"""INSERT INTO ducklake_table_stats (table_id, record_count, next_row_id, file_size_bytes)
                SELECT table_id, 0, 0, 0 FROM ducklake_table
                WHERE end_snapshot IS NULL AND table_name IN ({", ".join("?" * len(OFTEN_EMPTY))})
                AND table_id NOT IN (SELECT table_id FROM ducklake_table_stats)""",
            OFTEN_EMPTY,
        )
