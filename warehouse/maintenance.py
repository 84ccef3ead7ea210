"""Keep a lake small and quick: expire old snapshots, merge small files, delete what nothing refers to any more.

DuckLake does each of it. Published faults of such clean-ups deleted files that were in use (duckdb/ducklake#813, #815), so each file that
is to go is first compared with those that a kept snapshot reads.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warehouse.data_path import refuse_other_owner
from warehouse.lake import Lake, LakeError
from warehouse.postgres import erase_values, rewrite_tables, tables_with
from warehouse.snapshots import list_snapshots
from warehouse.statements import quote
from warehouse.table_store import table_files

__all__ = ["Maintained", "compact_catalog", "live_files", "live_sizes", "maintain"]

_CATALOG = "__ducklake_metadata_lake"
"""what DuckLake calls the database of the catalog of a lake attached as `lake`"""
_VALUES = ("ducklake_table_column_stats", "ducklake_file_column_stats")
"""tables of the catalog that hold values of the lake's tables"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintained:
    """What was done, or would be."""

    num_expired: int
    num_kept: int
    """snapshots that are left"""
    num_merged: int
    """files that became fewer"""
    num_deleted: int
    """files deleted: old ones that no kept snapshot reads, and those of killed writers"""
    num_waiting: int
    """files that nothing reads any more, left for `grace` because a reader may still be at them"""
    files_before: int
    files_after: int
    """Parquet files of the tables on disk, or in their store"""
    bytes_before: int
    bytes_after: int


def maintain(
    lake: Lake, *, keep: datetime.timedelta, grace: datetime.timedelta, min_deleted: float = 0.95, dry_run: bool = False
) -> Maintained:
    """Expire snapshots older than `keep` but for tagged ones and the latest, merge files, and delete what was replaced `grace` ago.

    Other processes may read and write meanwhile: each step is a commit of its own, and writers wait for it.

    Args:
        lake: the lake, open for writing.
        keep: how far back the lake can be read as it was.
        grace: how long a file stays that is replaced; longer than the longest query.
        min_deleted: share of a file's rows that were taken back, from which on it is written again without them.
        dry_run: change nothing; the files after are then those before.

    Raises:
        LakeError: a file that is to be deleted is in use, or the tables lie in a store and belong to another lake. Nothing has been deleted
            then.
        OSError: the store of the tables cannot be reached.
    """
    if not dry_run:
        refuse_other_owner(lake.data_path, lake.root, lake.catalog)
    now = datetime.datetime.now(datetime.UTC)
    files_before, bytes_before = _stored(lake)
    num_merged = num_deleted = 0
    with contextlib.nullcontext() if dry_run else lake.alone():  # nobody gives a snapshot a tag between the choice and its end
        snapshots = list_snapshots(lake)
        old = [snapshot.version for snapshot in snapshots[:-1] if not snapshot.tags and snapshot.made_at < now - keep]
        if old and not dry_run:
            lake.query(f"CALL ducklake_expire_snapshots('lake', versions => {old})")
    if not dry_run:
        with lake.alone():  # rows that were taken back leave their files first, so that merging finds few of them
            lake.query(f"CALL ducklake_rewrite_data_files('lake', delete_threshold => {min_deleted})")
        with lake.alone():
            merged = lake.rows("CALL ducklake_merge_adjacent_files('lake')")
            num_merged = sum(row["files_processed"] - row["files_created"] for row in merged)
        num_deleted = _delete(lake, older_than=now - grace)
    files_after, bytes_after = _stored(lake)
    return Maintained(
        num_expired=len(old),
        num_kept=len(snapshots) - len(old),
        num_merged=num_merged,
        num_deleted=num_deleted,
        num_waiting=0 if dry_run else len(lake.rows("CALL ducklake_cleanup_old_files('lake', cleanup_all => true, dry_run => true)")),
        files_before=files_before,
        files_after=files_after,
        bytes_before=bytes_before,
        bytes_after=bytes_after,
    )


def live_files(lake: Lake) -> set[Path]:
    """Every data and delete file that a kept snapshot reads, of a lake whose tables lie in a folder."""
    return {Path(lake.data_path, name) for name in live_sizes(lake)}


def live_sizes(lake: Lake) -> dict[str, int]:
    """Sizes of these files in bytes, by name below the lake's data path, as the catalog's own tables have them (DuckLake 1.0)."""
    found: dict[str, int] = {}
    for kind in ("data", "delete"):
        rows = lake.rows(
            f"""SELECT f.path, f.path_is_relative, f.file_size_bytes, t.path AS table_path, t.path_is_relative AS table_is_relative,
                       s.path AS schema_path, s.path_is_relative AS schema_is_relative
                FROM {_CATALOG}.ducklake_{kind}_file f
                JOIN {_CATALOG}.ducklake_table t ON t.table_id = f.table_id AND t.begin_snapshot =
                     (SELECT max(o.begin_snapshot) FROM {_CATALOG}.ducklake_table o WHERE o.table_id = f.table_id)
                JOIN {_CATALOG}.ducklake_schema s ON s.schema_id = t.schema_id"""
        )
        for row in rows:
            path = str(row["path"])
            if row["path_is_relative"]:
                path = row["table_path"] + path
                if row["table_is_relative"]:
                    path = row["schema_path"] + path
            found[path] = int(row["file_size_bytes"])
    return found


def compact_catalog(lake: Lake, needles: Sequence[str]) -> tuple[str, ...]:
    """Take texts out of the smallest and largest values that the catalog keeps of columns, and out of its free pages.

    Without such a value DuckLake reads a file that it might have skipped; it changes no answer. What a Postgres server has written to its
    log of changes, to its messages and to its own backups is not reached.

    Returns:
        Tables of a Postgres catalog that still hold one of these texts. A SQLite file can be searched as any other.

    Raises:
        LakeError: see `warehouse.postgres.rewrite_tables`.
    """
    if lake.catalog.kind == "postgres":
        with lake.alone():
            erase_values(lake.catalog, _VALUES, needles)
        rewrite_tables(lake.catalog)
        return tuple(tables_with(lake.catalog, needles))
    with lake.alone():
        with contextlib.closing(sqlite3.connect(lake.catalog.where, timeout=30.0)) as connection:
            for table in _VALUES:
                for needle in needles:
                    statement = f"UPDATE {table} SET min_value = NULL, max_value = NULL WHERE instr(min_value, ?) OR instr(max_value, ?)"
                    connection.execute(statement, [needle, needle])
            connection.commit()
            connection.execute("VACUUM")
    return ()


def _delete(lake: Lake, *, older_than: datetime.datetime) -> int:
    """Delete replaced files, and those of killed writers that no snapshot names; returns how many."""
    time = quote(older_than.isoformat(sep=" "))
    num_deleted = 0
    for function in ("ducklake_cleanup_old_files", "ducklake_delete_orphaned_files"):
        with lake.alone():
            rows = lake.rows(f"CALL {function}('lake', older_than => {time}::TIMESTAMPTZ, dry_run => true)")
            going = {os.path.normpath(row["path"]) for row in rows}
            used = going & {os.path.normpath(os.path.join(lake.data_path, name)) for name in live_sizes(lake)} if going else set()
            if used:
                raise LakeError(
                    f"{function} would delete {len(used)} files that are in use, such as {min(used)}; nothing was deleted, report it"
                )
            if going:
                num_deleted += len(lake.rows(f"CALL {function}('lake', older_than => {time}::TIMESTAMPTZ)"))
    return num_deleted


def _stored(lake: Lake) -> tuple[int, int]:
    sizes = table_files(lake.data_path).values()
    return len(sizes), sum(sizes)
