"""Copy a lake to another folder so that it can be opened there, again and again with only what is new.

The copy has a catalog of its own, a SQLite file, whatever the lake has; a lake that is made of it has a SQLite file or a Postgres database.

The files of tables, packs and shards are written once and never changed, so a copy of the catalog that is older than they are is whole.
The order is DuckLake's own advice: the catalog first, then the files it names, and nothing is cleaned up meanwhile. The copy's catalog is
exchanged last but one, once every file that it names was found in the copy. What the lake has lost since goes after that, so that what
was forgotten in the lake leaves the copy too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from warehouse.catalog import CATALOG_FILE, Catalog, catalog_of, has_lake, write_catalog_file
from warehouse.catalog_copy import copy_catalog, refuse_used_database
from warehouse.data_path import WITNESS
from warehouse.lake import Lake, LakeError, open_lake
from warehouse.maintenance import live_files, live_sizes
from warehouse.object_store import is_uri
from warehouse.store import read_json, remove_abandoned, write_json
from warehouse.table_backup import fetch_new, table_sizes
from warehouse.table_sending import clear_sent, refuse_place, send_tables, write_data_path
from warehouse.table_store import folder_data

__all__ = [
    "CATALOG",
    "Copied",
    "check_copy",
    "check_target",
    "copy_lake",
    "freeze_catalog",
    "lake_files",
    "maintenance_lock",
    "set_data_path",
]

CATALOG = "catalog.sqlite"
MARK = "backup.json"
"""in the copy: that this folder is one, and of which lake"""

_LEFT_OUT = {"staging", ".prefect", "lost+found"}
"""work in progress, and what is made again"""

_TABLES_OF_PATHS = ("packs", "clip_videos", "embeddings", "shards", "private_frames")
"""that name files below the lake's root"""
_ALWAYS_THERE = ("packs", "clip_videos", "embeddings")
"""of these, whose files leave the lake only together with their rows; shards and decided pictures may be deleted by themselves"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a copy came to."""

    num_files: int
    num_bytes: int
    """of the whole copy"""
    num_new: int
    new_bytes: int
    """copied this time"""
    num_gone: int
    """deleted from the copy, because the lake has them no more"""
    num_tables: int
    num_rows: int
    """read from the copy, by its own catalog"""


def maintenance_lock(root: Path) -> FileLock:
    """Held by whoever deletes files of a lake, and by whoever copies them."""
    return FileLock(root / "maintenance.lock")


def copy_lake(
    source: Path,
    target: Path,
    *,
    is_restore: bool = False,
    database: Catalog | None = None,
    data_path: str | None = None,
    seen: Callable[[Path], None] = lambda path: None,
) -> Copied:
    """Bring `target` to the state of the lake `source`, and open it there.

    A file that `target` has in the same size and with the same time of change is not copied again. Links are followed: the copy holds what
    they point to, and the files of tables that lie in a store. Interrupted, it can be repeated; until the catalog is exchanged, `target` is
    what it was, and nothing of it has been deleted.

    Args:
        source: a lake, or a copy of one.
        target: a folder that is missing, empty, or an earlier copy of the same lake. For a restore it must be missing or empty.
        is_restore: `target` becomes a lake to work in, not a copy.
        database: Postgres database that becomes the catalog of a restored lake, instead of a SQLite file.
        data_path: URI in a store for the tables of a restored lake, instead of its folder (see `warehouse.table_store.data_below`).
        seen: told of every file.

    Raises:
        LakeError: `source` is no lake, or it cannot be read whole; `target` or `database` holds something else, one folder lies in the
            other, or the copy lacks files that its tables name.
        OSError: the store of the tables cannot be reached.
    """
    source, target = source.absolute(), target.absolute()
    if not has_lake(source):
        raise LakeError(f"there is no lake in {source} (no {CATALOG}); give the folder of one")
    if source == target or source in target.parents or target in source.parents:
        raise LakeError(f"{target} and {source} lie in each other; give a folder elsewhere, best on another disk")
    is_unfinished = check_target(source, target, is_restore=is_restore)
    if database is not None:
        refuse_used_database(database, target, is_unfinished=is_unfinished)
    lasting = database or Catalog(kind="sqlite", where=str(target / CATALOG))
    if data_path is not None:
        refuse_place(data_path, target, lasting, is_unfinished=is_unfinished)
    if not target.exists():
        target.mkdir(parents=True, mode=0o700)
        _take_mode(source, target)
    if not is_restore:
        write_json(target / MARK, {"lake": str(source)})  # first, so that an interrupted one is known again
    # a backup may lie on a disk that cannot be written to, and nothing changes it meanwhile
    quiet = contextlib.nullcontext() if is_restore else maintenance_lock(source)
    partial = target / f".{CATALOG}.partial"
    with quiet:
        source_data = freeze_catalog(source, partial, is_quiet=is_restore)
        set_data_path(partial, target)
        wanted = dict(lake_files(source))
        _make_folders(source, target, wanted)
        num_new = new_bytes = 0
        for name, entry in wanted.items():
            seen(Path(name))
            if not _same(entry, target / name) and _copy(source / name, target / name):
                num_new, new_bytes = num_new + 1, new_bytes + entry.st_size
        tables = table_sizes(target, partial) if is_uri(source_data) else {}
        for name, _ in fetch_new(source_data, tables, lambda name: _lacking(target / name, tables[name]), seen=seen):
            num_new, new_bytes = num_new + 1, new_bytes + tables[name]
        names = {*wanted, *tables}
        gone = [name for name, _ in lake_files(target) if name not in names]
        copied = Catalog(kind="sqlite", where=str(partial))
        if database is not None:
            copy_catalog(target, copied, database)
        num_tables, num_rows = check_copy(source, target, database or copied, wanted=names, gone=set(gone))
        if data_path is not None:
            send_tables(target, database or copied, data_path, owner=lasting)
            clear_sent(target)  # before it is a lake: killed in between, this can be repeated
    if database is not None:
        write_catalog_file(target, database)
        partial.unlink()
    else:
        if catalog_of(source).kind == "sqlite":
            _take_mode(source / CATALOG, partial)
        os.replace(partial, target / CATALOG)
    for name in gone:
        (target / name).unlink(missing_ok=True)
    _remove_empty_folders(target)
    remove_abandoned(target, older_than_s=0)
    return Copied(
        num_files=len(names),
        num_bytes=sum(entry.st_size for entry in wanted.values()) + sum(tables.values()),
        num_new=num_new,
        new_bytes=new_bytes,
        num_gone=len(gone),
        num_tables=num_tables,
        num_rows=num_rows,
    )


def check_target(source: Path, target: Path, *, is_restore: bool) -> bool:
    """Whether the folder, which can be the copy, shows that a restore was interrupted."""
    if not target.exists() or not any(target.iterdir()):
        return False
    if is_restore:
        if has_lake(target) or not (target / f".{CATALOG}.partial").exists():
            raise LakeError(f"{target} is not empty; give a new folder, and move it to where the lake was once you have looked at it")
        return True
    mark = target / MARK
    if not mark.is_file():
        raise LakeError(f"{target} is not empty and is no backup (no {MARK}); give an empty folder")
    of = read_json(mark)["lake"]
    if of != str(source):
        raise LakeError(f"{target} is a backup of {of}, not of {source}; give another folder, or correct {mark} if the lake has moved")
    return False


def freeze_catalog(source: Path, partial: Path, *, is_quiet: bool) -> str:
    """A consistent copy of the catalog; of a SQLite file by its own means, while writers wait for the moment it takes.

    Returns:
        Where it says that the tables lie.
    """
    partial.unlink(missing_ok=True)
    _create_private(partial)
    of = catalog_of(source)
    if of.kind == "postgres":
        copy_catalog(source, of, Catalog(kind="sqlite", where=str(partial)))
    with contextlib.closing(sqlite3.connect(partial)) as copy:
        if of.kind == "sqlite":
            writers = contextlib.nullcontext() if is_quiet else FileLock(source / "catalog.lock")
            with writers, contextlib.closing(sqlite3.connect(f"file:{source / CATALOG}?mode=ro", uri=True)) as catalog:
                catalog.backup(copy)
        (found,) = copy.execute("SELECT value FROM ducklake_metadata WHERE key = 'data_path'").fetchone()
    return str(found)


def set_data_path(catalog: Path, lake: Path) -> None:
    """Tell a SQLite catalog where its lake is: plain DuckDB finds the tables by this path; EndoForge goes by the folder."""
    write_data_path(Catalog(kind="sqlite", where=str(catalog)), folder_data(lake))


def lake_files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Names and facts of all files of a lake but its catalog, its locks and work in progress; what links point to counts as theirs."""
    for parent, folders, names in os.walk(root, onerror=_raise_unless_gone, followlinks=True):
        inner = Path(parent).relative_to(root)
        left_out = _LEFT_OUT if inner == Path() else set()
        folders[:] = sorted(name for name in folders if name not in left_out)
        for name in folders:
            _refuse_circle(Path(parent, name))
        for name in sorted(names):
            path = Path(parent, name)
            is_own = inner == Path() and (name.startswith((CATALOG, f".{CATALOG}.partial")) or name in (MARK, CATALOG_FILE, WITNESS))
            if is_own or name in left_out or name.endswith((".lock", ".tmp")):
                continue
            try:
                yield str(inner / name), path.stat()
            except FileNotFoundError:
                if path.is_symlink():
                    raise LakeError(f"{path} is a link to {os.readlink(path)}, which is not there; mount that disk, or mend it") from None
                # else a working file of another process


def _raise_unless_gone(error: OSError) -> None:
    """A folder that cannot be listed must not pass for an empty one; one that another process has just deleted is none."""
    if not isinstance(error, FileNotFoundError) or os.path.lexists(error.filename):
        raise LakeError(f"{error.filename} cannot be listed: {error.strerror}; make it readable, nothing was deleted") from error


def _refuse_circle(folder: Path) -> None:
    if folder.is_symlink():
        to = folder.resolve()
        if to in (folder.parent.resolve(), *folder.parent.resolve().parents):
            raise LakeError(f"{folder} is a link to {to}, in which it lies itself; take the link out of the lake")


def _same(entry: os.stat_result, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (there.st_size, there.st_mtime_ns) == (entry.st_size, entry.st_mtime_ns)


def _lacking(path: Path, size: int) -> Path | None:
    return None if path.is_file() and path.stat().st_size == size else path


def _make_folders(source: Path, target: Path, names: Iterable[str]) -> None:
    """The folders of these files, with the source's modes, so that what is private stays so."""
    for folder in sorted({parent for name in names for parent in Path(name).parents} - {Path()}):
        (target / folder).mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # deleted since by a run that goes on
            _take_mode(source / folder, target / folder)


def _take_mode(source: Path, target: Path) -> None:
    """Give `target` the mode of `source`; a folder stays open to its owner."""
    mode = stat.S_IMODE(source.stat().st_mode) | (0o700 if target.is_dir() else 0)
    if stat.S_IMODE(target.stat().st_mode) != mode:
        with contextlib.suppress(PermissionError):  # some disks know no modes
            target.chmod(mode)


def _create_private(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _copy(source: Path, target: Path) -> bool:
    """Whether the file was still there: a run that goes on deletes checkpoints that it no longer keeps."""
    partial = target.with_name(f".{target.name[:64]}.copy.tmp")
    partial.unlink(missing_ok=True)
    _create_private(partial)
    try:
        shutil.copy2(source, partial)  # with the mode at last, and the time, by which it is known again
    except FileNotFoundError:
        partial.unlink()
        return False
    os.replace(partial, target)
    return True


def _remove_empty_folders(root: Path) -> None:
    for parent, _, _ in os.walk(root, topdown=False):
        if Path(parent) not in (root, root / "tables"):
            with contextlib.suppress(OSError):
                os.rmdir(parent)


def check_copy(source: Path, target: Path, catalog: Catalog, *, wanted: Collection[str], gone: set[str]) -> tuple[int, int]:
    """Tables and rows of a copy by its new catalog, which is not in its place yet.

    Raises:
        LakeError: a file that the catalog names is not in the lake, or was not copied.
    """
    with open_lake(target, read_only=True, catalog=catalog) as lake:
        if is_uri(lake.data_path):
            missing = [Path(name) for name in live_sizes(lake) if f"tables/{name}" not in wanted]
        else:
            found = live_files(lake)
            named = [path.relative_to(target) for path in found if path.is_relative_to(target)]
            # those of a migration are the copy's own
            missing = [path for path in found if not path.is_file()] + [source / path for path in named if str(path) in gone]
        if missing:
            raise LakeError(
                f"{len(missing)} files of the tables of {source} are not there, such as {min(missing)}; bring them back and type the same "
                f"command again. Nothing was deleted in {target}"
            )
        _check_paths(lake, source, target, wanted=wanted, gone=gone)
        tables = [row["table_name"] for row in lake.rows("SELECT table_name FROM ducklake_table_info('lake')")]
        rows = sum(int(lake.rows(f'SELECT count(*) AS n FROM "{table}"')[0]["n"]) for table in tables)
    return len(tables), rows


def _check_paths(lake: Lake, source: Path, target: Path, *, wanted: Collection[str], gone: set[str]) -> None:
    """See that packs, vectors and shards that the tables name were copied, and that none is about to be lost with the lake's own."""
    for table in _TABLES_OF_PATHS:
        for row in lake.rows(f"SELECT DISTINCT path FROM {table} WHERE path IS NOT NULL ORDER BY path"):
            name = os.path.normpath(row["path"])
            is_copied = name in wanted and (target / name).is_file()
            is_lost = table in _ALWAYS_THERE and name in gone
            if is_lost or (not is_copied and (source / name).is_file()):
                why = "is not in the lake any more, and the copy has it" if is_lost else "was not copied"
                raise LakeError(f"{source / name}, which the table {table} names, {why}; bring it back. Nothing was deleted in {target}")
