"""Keep a lake in order: make it small, copy it elsewhere and back, name and list its snapshots."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path

from flows.job import one_at_a_time
from flows.runners import say
from flows.upkeep_config import UpkeepConfig
from warehouse.backup import Copied, copy_lake
from warehouse.catalog import Catalog
from warehouse.data_path import refuse_other_owner
from warehouse.lake import Lake
from warehouse.maintenance import Maintained, maintain
from warehouse.object_store import is_uri
from warehouse.store_backup import pull_lake, push_lake

__all__ = ["run_backup", "run_maintain", "run_restore"]

_SAY_EVERY_S = 15.0


def run_maintain(lake: Lake, config: UpkeepConfig, *, dry_run: bool = False) -> Maintained:
    """Make a lake small and say what came of it; a copy that is under way is waited for.

    Raises:
        LakeError: a file that was to be deleted is in use, or the tables lie in a store and belong to another lake.
    """
    with one_at_a_time(lake.root / "maintenance.lock", busy="another process copies or maintains this lake"):
        if not dry_run:
            refuse_other_owner(lake.data_path, lake.root, lake.catalog)
            lake.add_missing_views()
        done = maintain(
            lake, keep=datetime.timedelta(days=config.keep_days), grace=datetime.timedelta(hours=config.grace_hours), dry_run=dry_run
        )
    if dry_run:
        say(
            f"maintain: {done.num_expired} snapshots would expire, {done.num_kept} stay; {_sizes(done.files_before, done.bytes_before)} now"
        )
        return done
    say(f"maintain: {done.num_expired} snapshots expired, {done.num_kept} kept; {done.num_merged} files merged, {done.num_deleted} deleted")
    say(f"maintain: {_sizes(done.files_before, done.bytes_before)} before, {_sizes(done.files_after, done.bytes_after)} now")
    if done.num_waiting:
        say(f"maintain: {done.num_waiting} files that nothing reads any more stay for {config.grace_hours:g} hours (--grace-hours)")
    return done


def run_backup(lake: Path, to: str) -> Copied:
    """Bring a copy of a lake up to date, in a folder or at a URI of an object store, and read every table by the copy's catalog.

    Raises:
        LakeError: there is no lake, or the place cannot be its backup.
        OSError: the object store cannot be reached.
    """
    copied = push_lake(lake, to, seen=_counter("backup")) if is_uri(to) else copy_lake(lake, Path(to), seen=_counter("backup"))
    say(f"backup: {_what(copied)}; {copied.num_gone} removed there because the lake has them no more")
    looked = "has all files, and its catalog was opened and read" if is_uri(to) else "was opened and read"
    say(f"backup: {to} {looked}: {copied.num_rows} rows in {copied.num_tables} tables")
    return copied


def run_restore(backup: str, lake: Path, *, database: Catalog | None = None, data_path: str | None = None) -> Copied:
    """Make a lake of a backup, in a new folder, and open it; its catalog is a SQLite file, or a Postgres database if one is given.

    Its tables lie in the folder, or in a store if a place there is given.

    Raises:
        LakeError: there is no backup, or the folder or the database is not empty.
        OSError: the object store cannot be reached.
    """
    seen = _counter("restore")
    if is_uri(backup):
        copied = pull_lake(backup, lake, database=database, data_path=data_path, seen=seen)
    else:
        copied = copy_lake(Path(backup), lake, is_restore=True, database=database, data_path=data_path, seen=seen)
    say(f"restore: {_what(copied)}")
    say(f"restore: {lake} was opened and read: {copied.num_rows} rows in {copied.num_tables} tables")
    return copied


def _what(copied: Copied) -> str:
    return f"{copied.num_files} files, {_gigabytes(copied.num_bytes)}; {copied.num_new} copied now, {_gigabytes(copied.new_bytes)}"


def _sizes(num_files: int, num_bytes: int) -> str:
    return f"{num_files} files of tables, {_gigabytes(num_bytes)},"


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def _counter(what: str) -> Callable[[Path], None]:
    last, num_seen = time.monotonic(), 0

    def seen(path: Path) -> None:
        nonlocal last, num_seen
        num_seen += 1
        if time.monotonic() - last > _SAY_EVERY_S:
            last = time.monotonic()
            say(f"{what}: {num_seen} files looked at, now {path.parent}")

    return seen
