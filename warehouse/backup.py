"""Copy a lake to another folder so that it can be opened there, again and again with only what is new.

The files of tables, packs and shards are written once and never changed, so a copy of the catalog that is older than they are is whole.
The order is DuckLake's own advice: the catalog first, then the files it names, and nothing is cleaned up meanwhile. The copy's catalog is
exchanged last but one. What the lake has lost since goes after that, so that what was forgotten in the lake leaves the copy too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from warehouse.lake import LakeError, open_lake
from warehouse.maintenance import live_files
from warehouse.store import read_json, remove_abandoned, write_json

__all__ = ["Copied", "copy_lake", "maintenance_lock"]

CATALOG = "catalog.sqlite"
MARK = "backup.json"
"""in the copy: that this folder is one, and of which lake"""

_LEFT_OUT = {"staging", ".prefect", "lost+found"}
"""work in progress, and what is made again"""


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


def copy_lake(source: Path, target: Path, *, is_restore: bool = False, seen: Callable[[Path], None] = lambda path: None) -> Copied:
    """Bring `target` to the state of the lake `source`, and open it there.

    A file that `target` has in the same size and with the same time of change is not copied again. Interrupted, it can be repeated; until
    the catalog is exchanged, `target` is what it was.

    Args:
        source: a lake, or a copy of one.
        target: a folder that is missing, empty, or an earlier copy of the same lake. For a restore it must be missing or empty.
        is_restore: `target` becomes a lake to work in, not a copy.
        seen: told of every file.

    Raises:
        LakeError: `source` is no lake, `target` holds something else, one lies in the other, or the copy lacks files of its tables.
    """
    source, target = source.absolute(), target.absolute()
    if not (source / CATALOG).is_file():
        raise LakeError(f"there is no lake in {source} (no {CATALOG}); give the folder of one")
    if source == target or source in target.parents or target in source.parents:
        raise LakeError(f"{target} and {source} lie in each other; give a folder elsewhere, best on another disk")
    _check_target(source, target, is_restore=is_restore)
    target.mkdir(parents=True, exist_ok=True)
    # a backup may lie on a disk that cannot be written to, and nothing changes it meanwhile
    quiet = contextlib.nullcontext() if is_restore else maintenance_lock(source)
    with quiet, contextlib.closing(_catalog_copy(source, target, is_quiet=is_restore)) as catalog:
        wanted = dict(_files(source))
        num_new = new_bytes = 0
        for name, entry in wanted.items():
            seen(Path(name))
            if not _same(entry, target / name) and _copy(source / name, target / name):
                num_new, new_bytes = num_new + 1, new_bytes + entry.st_size
        if not is_restore:
            write_json(target / MARK, {"lake": str(source)})
        elif (target / MARK).is_file():
            (target / MARK).unlink()
        _set_data_path(catalog, target)
        catalog.commit()
    os.replace(target / f".{CATALOG}.partial", target / CATALOG)
    gone = [name for name, _ in _files(target) if name not in wanted]
    for name in gone:
        (target / name).unlink()
    _remove_empty_folders(target)
    remove_abandoned(target, older_than_s=0)
    num_tables, num_rows = _check(target)
    return Copied(
        num_files=len(wanted),
        num_bytes=sum(entry.st_size for entry in wanted.values()),
        num_new=num_new,
        new_bytes=new_bytes,
        num_gone=len(gone),
        num_tables=num_tables,
        num_rows=num_rows,
    )


def _check_target(source: Path, target: Path, *, is_restore: bool) -> None:
    if not target.exists() or not any(target.iterdir()):
        return
    if is_restore:
        unfinished = not (target / CATALOG).exists() and (target / f".{CATALOG}.partial").exists()
        if not unfinished:
            raise LakeError(f"{target} is not empty; give a new folder, and move it to where the lake was once you have looked at it")
        return
    mark = target / MARK
    if not mark.is_file():
        raise LakeError(f"{target} is not empty and is no backup (no {MARK}); give an empty folder")
    of = read_json(mark)["lake"]
    if of != str(source):
        raise LakeError(f"{target} is a backup of {of}, not of {source}; give another folder, or correct {mark} if the lake has moved")


def _catalog_copy(source: Path, target: Path, *, is_quiet: bool) -> sqlite3.Connection:
    """A consistent copy of the catalog beside its place, by SQLite's own means; writers wait for the moment that it takes."""
    partial = target / f".{CATALOG}.partial"
    partial.unlink(missing_ok=True)
    copy = sqlite3.connect(partial)
    writers = contextlib.nullcontext() if is_quiet else FileLock(source / "catalog.lock")
    with writers, contextlib.closing(sqlite3.connect(f"file:{source / CATALOG}?mode=ro", uri=True)) as catalog:
        catalog.backup(copy)
    partial.chmod(stat.S_IMODE((source / CATALOG).stat().st_mode))
    return copy


def _set_data_path(catalog: sqlite3.Connection, target: Path) -> None:
    """Plain DuckDB finds the tables by this path; EndoForge goes by the folder."""
    catalog.execute("UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [f"{target / 'tables'}/"])


def _files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Names and facts of all files of a lake but its catalog, its locks, work in progress and links."""
    for parent, folders, names in os.walk(root):
        inner = Path(parent).relative_to(root)
        folders[:] = sorted(name for name in folders if inner != Path() or name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(parent, name)
            is_own = inner == Path() and (name.startswith(CATALOG) or name in (MARK, f".{CATALOG}.partial"))
            if is_own or name.endswith((".lock", ".tmp")) or path.is_symlink():
                continue
            with contextlib.suppress(FileNotFoundError):  # a working file of another process
                yield str(inner / name), path.stat()


def _same(entry: os.stat_result, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (there.st_size, there.st_mtime_ns) == (entry.st_size, entry.st_mtime_ns)


def _copy(source: Path, target: Path) -> bool:
    """Whether the file was still there: a run that goes on deletes checkpoints that it no longer keeps."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:64]}.copy.tmp")
    try:
        shutil.copy2(source, partial)  # with the mode, so that what is private stays so, and the time, by which it is known again
    except FileNotFoundError:
        return False
    os.replace(partial, target)
    return True


def _remove_empty_folders(root: Path) -> None:
    for parent, _, _ in os.walk(root, topdown=False):
        if Path(parent) != root:
            with contextlib.suppress(OSError):
                os.rmdir(parent)


def _check(target: Path) -> tuple[int, int]:
    """Tables and rows of a copy; every file that its catalog names is there."""
    with open_lake(target, read_only=True) as lake:
        missing = [path for path in live_files(lake) if not path.is_file()]
        if missing:
            raise LakeError(
                f"the copy {target} lacks {len(missing)} files of its tables, such as {min(missing)}; type the same command again"
            )
        tables = [row["table_name"] for row in lake.rows("SELECT table_name FROM ducklake_table_info('lake')")]
        rows = sum(int(lake.rows(f'SELECT count(*) AS n FROM "{table}"')[0]["n"]) for table in tables)
    return len(tables), rows
