"""Copy the rows of a lake's catalog into another database: from Postgres to a SQLite file, and from that to Postgres.

DuckLake makes the tables of the copy, so that their columns have the types of that database: a UUID, a time with its zone and a truth are
text and numbers in SQLite. The rows follow table by table. All of them are read in one transaction, for which a Postgres server keeps one
snapshot (REPEATABLE READ): a commit that happens meanwhile is wholly in the copy or wholly out of it, and no writer waits.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import duckdb

from warehouse.catalog import Catalog, LakeError
from warehouse.extensions import bare_connection
from warehouse.lake import open_lake
from warehouse.postgres import folder_of, has_tables, unreachable
from warehouse.statements import quote

__all__ = ["copy_catalog", "refuse_used_database"]

_TRIES = 3
_ROWS_IN_CATALOG = re.compile(r"ducklake_inlined_(data|delete)_\d")
"""Tables for rows that DuckLake keeps in the catalog instead of a file. Each kind of database has them in types of its own."""
_THEIR_LIST = "ducklake_inlined_data_tables"


def refuse_used_database(catalog: Catalog, folder: Path, *, is_unfinished: bool) -> None:
    """See that a database can become the catalog of the lake in `folder`.

    Args:
        catalog: the database.
        folder: of the lake.
        is_unfinished: the folder shows that an earlier try was interrupted, which may have filled the database.

    Raises:
        LakeError: the database cannot be reached, or holds something else.
    """
    of = folder_of(catalog)
    if of is not None and not (is_unfinished and of == folder):
        raise LakeError(f"{catalog.text} is the catalog of the lake in {of}; give each lake a database of its own")
    if of is None and has_tables(catalog):
        raise LakeError(f"the database of {catalog.text} has tables in it; give an empty one, which `createdb` makes")


def copy_catalog(root: Path, source: Catalog, target: Catalog) -> None:
    """Give `target` the rows of `source`.

    Rows of tables that a program other than EndoForge has put into the catalog itself are written to files of the lake first.

    Args:
        root: folder of the lake whose catalog `source` is.
        source: a catalog.
        target: an empty SQLite file or database, or a catalog whose rows are replaced.

    Raises:
        LakeError: a database cannot be reached, or another program goes on putting rows into the catalog.
    """
    _make_tables(target, root / "tables")
    for _ in range(_TRIES):
        if _copy_rows(source, target):
            return
        with open_lake(root, catalog=source) as lake, lake.alone():
            lake.query("CALL ducklake_flush_inlined_data('lake')")
    raise LakeError(f"another program goes on writing rows into {source.text} itself; type the same again once it has ended")


def _make_tables(catalog: Catalog, data: Path) -> None:
    with contextlib.closing(bare_connection("ducklake", catalog.extension)) as connection:
        try:
            connection.execute(f"ATTACH {quote(catalog.text)} AS made (DATA_PATH {quote(f'{data}/')}, OVERRIDE_DATA_PATH true)")
        except duckdb.Error as error:
            raise unreachable(catalog, error) from None


def _copy_rows(source: Catalog, target: Catalog) -> bool:
    """Whether all rows could be copied: none was one of a table that lies in the catalog itself. Else `target` is as it was."""
    with contextlib.closing(bare_connection(*{source.extension, target.extension})) as connection:
        connection.execute("SET TimeZone = 'UTC'")  # in which SQLite keeps times as text
        for name, catalog, access in (("source", source, ", READ_ONLY"), ("target", target, "")):
            try:
                connection.execute(f"ATTACH {quote(catalog.where)} AS {name} (TYPE {catalog.kind}{access})")
            except duckdb.Error as error:
                raise unreachable(catalog, error) from None
        connection.execute("BEGIN")
        wanted = _tables(connection, "target")
        for table in _tables(connection, "source"):
            if _ROWS_IN_CATALOG.match(table):
                if connection.execute(f"SELECT 1 FROM source.{table} LIMIT 1").fetchall():
                    return False
            elif table in wanted and table != _THEIR_LIST:
                connection.execute(f"DELETE FROM target.{table}")
                connection.execute(f"INSERT INTO target.{table} BY NAME FROM source.{table}")
        connection.execute("COMMIT")
    return True


def _tables(connection: duckdb.DuckDBPyConnection, database: str) -> list[str]:
    statement = "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND starts_with(table_name, 'ducklake_') ORDER BY 1"
    return [str(name) for (name,) in connection.execute(statement, [database]).fetchall()]
