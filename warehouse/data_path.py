"""What a catalog says of the place of its lake's tables, and whether they are this lake's.

DuckLake deletes below that place what its catalog does not name, so a prefix of a store belongs to one lake. An object beside the tables,
the mark, says to which. A copy of the lake's folder reads the same tables, and must not delete from them.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import duckdb

from warehouse.catalog import Catalog, LakeError, has_lake
from warehouse.object_store import open_store, reaching
from warehouse.postgres import database_identity, unreachable
from warehouse.statements import quote
from warehouse.table_store import MARK, mark_of, read_mark, table_files

__all__ = ["claim", "refuse_other_owner", "refuse_taken", "stored_data_path"]

_DATA_PATH = "SELECT value FROM ducklake_metadata WHERE key = 'data_path'"
_IS_THERE = "SELECT to_regclass('ducklake_metadata') IS NOT NULL AS is_there"
"""asked first of a Postgres server, whose errors come in its own language"""


def stored_data_path(connection: duckdb.DuckDBPyConnection, catalog: Catalog, *, read_only: bool) -> str | None:
    """What a catalog says of the place of the tables, by a connection that has its extension; None if it has no tables yet.

    Raises:
        LakeError: a Postgres server cannot be reached.
    """
    access = ", READ_ONLY" if read_only else ""  # else SQLite could not undo what a killed writer has left
    if catalog.kind == "sqlite":
        connection.execute(f"ATTACH {quote(catalog.where)} AS catalog_alone (TYPE sqlite, BUSY_TIMEOUT 30000{access})")
        question = "SELECT value FROM catalog_alone.ducklake_metadata WHERE key = 'data_path'"
    else:
        try:
            connection.execute(f"ATTACH {quote(catalog.where)} AS catalog_alone (TYPE postgres, READ_ONLY)")
        except duckdb.Error as error:
            raise unreachable(catalog, error) from None
        # to name its tables would load all of them
        first, question = (f"FROM postgres_query('catalog_alone', {quote(sql)})" for sql in (_IS_THERE, _DATA_PATH))
    try:
        is_there = catalog.kind == "sqlite" or connection.execute(first).fetchone() == (True,)
        found = connection.execute(question).fetchone() if is_there else None
    except duckdb.CatalogException:  # of a SQLite file, by DuckDB itself
        found = None
    finally:
        connection.execute("DETACH catalog_alone")
    return str(found[0]) if found else None


def refuse_taken(data_path: str, root: Path, catalog: Catalog) -> None:
    """See that nothing is below the URI of a new lake's tables but what an interrupted try has left.

    Raises:
        LakeError: something is.
        OSError: the store cannot be reached.
    """
    above = mark_of(data_path).removesuffix(f"/{MARK}")
    mark = read_mark(data_path)
    if mark is not None:
        # the number of a deleted folder is given to a new one
        if root.is_dir() and mark == _facts(root, catalog) and (has_lake(root) or not table_files(data_path)):
            return
        raise LakeError(f"{above} has the tables of the lake in {mark['folder']}; give each lake a prefix of its own")
    if root_of := _kept_above(above):
        raise LakeError(f"{above} lies below {root_of}, which is a lake's or a backup's own; give a place beside it")
    store, path = open_store(above)
    with reaching(above):
        found = next(iter(store.find(path, maxdepth=None)), None) if store.exists(path) else None
    if found is not None:
        raise LakeError(f"{above} is not empty, it has {found}; give a prefix of its own for the tables")


def _kept_above(uri: str) -> str | None:
    """A place above a URI from which a lake or a backup deletes what it does not know; None if there is none."""
    store, path = open_store(uri)
    with reaching(uri):
        while "/" in path:
            path = path.rpartition("/")[0]
            with contextlib.suppress(PermissionError):  # an account for this prefix alone
                if any(store.exists(f"{path}/{name}") for name in (MARK, "backup.json")):
                    return f"s3://{path}"
    return None


def claim(data_path: str, root: Path, catalog: Catalog) -> None:
    """Put the mark of the lake in `root` beside its tables."""
    store, path = open_store(mark_of(data_path))
    with reaching(data_path):
        store.pipe_file(path, json.dumps(_facts(root, catalog)).encode())


def refuse_other_owner(data_path: str, root: Path, catalog: Catalog) -> None:
    """See that tables belong to this lake before something is deleted from them; those that nobody owns are taken.

    Raises:
        LakeError: they are another lake's, of which this is a copy.
        OSError: the store cannot be reached.
    """
    mark, own = read_mark(data_path), _facts(root, catalog)
    if mark is not None and mark.get("owner") != own["owner"]:
        raise LakeError(
            f"the tables in {data_path} belong to the lake in {mark.get('folder')}, of which the one in {root} is a copy; deleting from "
            f"here would take its files. If that lake is gone, delete the object {mark_of(data_path)} and type this again"
        )
    if mark != own:
        claim(data_path, root, catalog)


def _facts(root: Path, catalog: Catalog) -> dict[str, str]:
    """A copied folder has another inode, a renamed one and one that is mounted elsewhere the same; a restored database another identity."""
    owner = f"folder {root.stat().st_ino}" if catalog.kind == "sqlite" else f"database {database_identity(catalog)}"
    return {"folder": str(root), "owner": owner}
