"""What a catalog says of the place of its lake's tables, and whether they are this lake's.

DuckLake deletes below that place what its catalog does not name, so a prefix of a store belongs to one lake. An object beside the tables,
the mark, says to which. A copy of the lake's folder reads the same tables, and must not delete from them.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import duckdb

from warehouse.catalog import Catalog, LakeError, has_lake
from warehouse.object_store import is_uri, open_store, reaching
from warehouse.postgres import database_identity, unreachable
from warehouse.statements import quote
from warehouse.store import atomic_file
from warehouse.table_store import MARK, mark_of, read_mark, table_files

__all__ = ["WITNESS", "claim", "is_own", "kept_above", "refuse_other_owner", "refuse_taken", "stored_data_path", "take_over"]

_DATA_PATH = "SELECT value FROM ducklake_metadata WHERE key = 'data_path'"
_IS_THERE = "SELECT to_regclass('ducklake_metadata') IS NOT NULL AS is_there"
"""asked first of a Postgres server, whose errors come in its own language"""


WITNESS = "tables.owner"
"""file in the folder of a lake with a SQLite catalog whose tables lie in a store"""
_SAYS = "The time of change of this file tells this folder from a copy of it. Leave it as it is.\n"
_UNKNOWN = "unknown"
"""owner of no tables: no mark has it"""


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
        # a database of the same name may have been made anew
        if mark == _facts(root, catalog) and (has_lake(root) or not table_files(data_path)):
            return
        raise LakeError(
            f"{above} has the tables of the lake in {mark.get('folder')}; give each lake a prefix of its own. If no lake uses them "
            f"any more, delete what lies below {above} first"
        )
    if root_of := kept_above(above):
        raise LakeError(f"{above} lies below {root_of}, which is a lake's or a backup's own; give a place beside it")
    store, path = open_store(above)
    with reaching(above):
        found = next(iter(store.find(path, maxdepth=None)), None) if store.exists(path) else None
    if found is not None:
        raise LakeError(f"{above} is not empty, it has {found}; give a prefix of its own for the tables")


def is_own(data_path: str, root: Path, catalog: Catalog) -> bool:
    """Whether tables bear the mark of the lake in `root`, which need not be whole yet."""
    return read_mark(data_path) == _facts(root, catalog)


def kept_above(uri: str) -> str | None:
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
    """Put the mark of the lake in `root` beside its tables, where none is but its own.

    Raises:
        LakeError: there is another lake's.
        OSError: the store cannot be reached.
    """
    mark = read_mark(data_path)
    if mark is not None and mark.get("owner") != _facts(root, catalog)["owner"]:
        raise LakeError(f"the tables in {data_path} belong to the lake in {mark.get('folder')}; give each lake a prefix of its own")
    _put_mark(data_path, root, catalog)


def take_over(data_path: str, root: Path, catalog: Catalog) -> None:
    """Make tables the lake's in `root`, which reads them: for one that was moved by copying, because a person says so.

    Raises:
        LakeError: the lake that they belong to is still there, or the disk cannot tell a copy of the folder.
        OSError: the store cannot be reached.
    """
    mark = read_mark(data_path)
    if mark is not None and mark != _facts(root, catalog) and _is_elsewhere(mark, root):
        raise LakeError(
            f"the lake in {mark.get('folder')} is still there, and the tables in {data_path} are its own; delete that folder first, "
            f"or give the one in {root} tables of its own by `endoforge backup` and `endoforge restore`"
        )
    _put_mark(data_path, root, catalog)


def refuse_other_owner(data_path: str, root: Path, catalog: Catalog) -> None:
    """See that tables in a store belong to this lake, before anything is deleted from them.

    Raises:
        LakeError: they are another lake's, of which this may be a copy.
        OSError: the store cannot be reached.
    """
    if not is_uri(data_path):
        return
    mark, own = read_mark(data_path), _facts(root, catalog)
    if mark == own:
        return
    if mark is not None and mark.get("owner") == own["owner"] and not _is_elsewhere(mark, root):
        _put_mark(data_path, root, catalog)  # the folder was renamed
        return
    whose = "bear no lake's name any more" if mark is None else f"belong to the lake in {mark.get('folder')}"
    raise LakeError(
        f"the tables in {data_path} {whose}, and the one in {root} may be a copy; deleting from here would take the files of the first. "
        f"If no other lake uses them, because this one was moved to another disk or its modes were changed, type: "
        f"`endoforge init-lake --lake {root} --data-path {mark_of(data_path).removesuffix(f'/{MARK}')} --take-over`"
    )


def _put_mark(data_path: str, root: Path, catalog: Catalog) -> None:
    if catalog.kind == "sqlite":
        _make_witness(root)
    store, path = open_store(mark_of(data_path))
    with reaching(data_path):
        store.pipe_file(path, json.dumps(_facts(root, catalog)).encode())


def _is_elsewhere(mark: dict[str, str], root: Path) -> bool:
    """Whether the lake that a mark names can be seen from here, in another folder than `root`."""
    folder = Path(mark.get("folder", ""))
    return folder.is_absolute() and has_lake(folder) and not folder.samefile(root)


def _facts(root: Path, catalog: Catalog) -> dict[str, str]:
    """Folder and owner of a lake; a copied folder, or a database that is made anew, is another owner, a renamed folder the same."""
    owner = _witness(root) if catalog.kind == "sqlite" else f"database {database_identity(catalog)}"
    return {"folder": str(root), "owner": owner}


def _make_witness(root: Path) -> None:
    path = root / WITNESS
    if _witness(root) == _UNKNOWN:
        with atomic_file(path) as file:
            file.write(_SAYS.encode())
        os.utime(path, (0, 0))  # a disk that keeps no time of change would give this one out for it
    if _witness(root) == _UNKNOWN:
        raise LakeError(
            f"the disk of {root} keeps no times of change, by which a copy of the folder is told; "
            "put the lake on another, and leave its tables in the folder or take a Postgres catalog"
        )


def _witness(root: Path) -> str:
    """When the file WITNESS became what it is, in microseconds: no program can set that, so that of a copy is another."""
    try:
        entry = (root / WITNESS).stat()
    except FileNotFoundError:
        return _UNKNOWN
    return _UNKNOWN if entry.st_ctime_ns == entry.st_mtime_ns else f"folder of {entry.st_ctime_ns // 1000}"
