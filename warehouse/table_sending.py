"""Put the tables of a lake that is being restored into a store, before its catalog takes its place."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from warehouse.catalog import Catalog, LakeError
from warehouse.data_path import claim, is_own, refuse_taken
from warehouse.lake import open_lake
from warehouse.maintenance import live_sizes
from warehouse.object_store import open_store, reaching
from warehouse.postgres import execute
from warehouse.statements import quote
from warehouse.table_store import table_files

__all__ = ["clear_sent", "refuse_place", "send_tables", "write_data_path"]


def refuse_place(data_path: str, target: Path, catalog: Catalog, *, is_unfinished: bool) -> None:
    """See that nothing is below a URI but what an interrupted restore into the folder `target` has put there.

    Raises:
        LakeError: something is.
        OSError: the store cannot be reached.
    """
    if not (is_unfinished and is_own(data_path, target, catalog)):
        refuse_taken(data_path, target, catalog)


def send_tables(target: Path, catalog: Catalog, data_path: str, *, owner: Catalog) -> None:
    """Put the files that a catalog names into a store, and let the catalog say that they are there; they stay in the folder as well.

    Args:
        target: folder of the lake, with all of them.
        catalog: the new lake's, as it is so far.
        data_path: URI of the tables.
        owner: the catalog that the finished lake will have.

    Raises:
        LakeError: a file did not arrive, or the tables there are another lake's.
        OSError: the store cannot be reached.
    """
    with open_lake(target, read_only=True, catalog=catalog) as lake:
        sizes = live_sizes(lake)
    claim(data_path, target, owner)
    there = table_files(data_path)
    store, prefix = open_store(data_path)
    for name, size in sizes.items():
        if there.get(name) != size:
            with reaching(data_path):
                store.put_file(str(target / "tables" / name), f"{prefix.rstrip('/')}/{name}")
    there = table_files(data_path)
    if lost := [name for name, size in sizes.items() if there.get(name) != size]:
        raise LakeError(f"{len(lost)} files did not arrive in {data_path}, such as {lost[0]}; type the same command again")
    write_data_path(catalog, data_path)


def write_data_path(catalog: Catalog, data_path: str) -> None:
    """Tell a catalog where the tables of its lake are."""
    if catalog.kind == "postgres":
        execute(catalog, f"UPDATE ducklake_metadata SET value = {quote(data_path)} WHERE key = 'data_path'")
        return
    with closing(sqlite3.connect(catalog.where)) as opened:
        opened.execute("UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [data_path])
        opened.commit()


def clear_sent(target: Path) -> None:
    """Delete the files of tables that are in a store now, before the catalog takes its place."""
    shutil.rmtree(target / "tables")
    (target / "tables").mkdir(mode=0o700)
