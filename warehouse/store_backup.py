"""Copy a lake to an object store and make a lake of such a copy; each time only what is new.

Objects are put whole, as every object store does it, and none is put anew with another content: its name has the size and the time of
change of its file, the catalog's has its hash. One object, the index, says which catalog counts and which objects belong to it. It is put
once all of them are there, so an interrupted copy leaves the earlier one as it was. Then all objects go that it does not name, whoever left
them.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.backup import CATALOG, Copied, check_copy, check_target, freeze_catalog, lake_files, maintenance_lock, set_data_path
from warehouse.catalog import Catalog, has_lake, write_catalog_file
from warehouse.catalog_copy import copy_catalog, refuse_used_database
from warehouse.lake import LakeError
from warehouse.object_store import check_uri, is_uri, open_store, reaching
from warehouse.store import file_sha256
from warehouse.table_backup import fetch_new, table_sizes
from warehouse.table_sending import clear_sent, refuse_place, send_tables

__all__ = ["pull_lake", "push_lake"]

_INDEX = "backup.json"
_FILES = "files"
_FORMAT = 1


def push_lake(source: Path, uri: str, *, seen: Callable[[Path], None] = lambda path: None) -> Copied:
    """Bring the copy at a URI to the state of the lake `source`.

    A file that is there in the same size and with the same time of change is not sent again.

    Raises:
        LakeError: `source` is no lake or lacks files that its tables name, or the place in the store holds something else.
        OSError: the store cannot be reached, or refuses; the earlier copy is whole.
        ValueError: nothing here reaches such a URI, or it holds a password.
    """
    source = source.absolute()
    if not has_lake(source):
        raise LakeError(f"there is no lake in {source} (no {CATALOG}); give the folder of one")
    place = _place(uri)
    with maintenance_lock(source), tempfile.TemporaryDirectory() as scratch:
        before = _read_index(place, of=str(source))
        there = place.sizes()
        frozen = Path(scratch) / CATALOG
        data_path = freeze_catalog(source, frozen, is_quiet=False)
        if not is_uri(data_path):
            set_data_path(frozen, source)
        index: dict[str, list[Any]] = {}
        num_new = new_bytes = 0
        for name, entry in dict(lake_files(source)).items():
            seen(Path(name))
            facts = _facts(name, entry)
            if there.get(facts[3]) != facts[0]:
                try:
                    facts = _facts(name, (source / name).stat())
                    place.put(source / name, facts[3])
                except FileNotFoundError:
                    if (source / name).exists():
                        raise
                    continue  # a run that goes on deletes checkpoints that it no longer keeps
                num_new, new_bytes = num_new + 1, new_bytes + facts[0]
            index[name] = facts
        tables = table_sizes(source, frozen) if is_uri(data_path) else {}
        index |= {name: [size, 0, 0o600, f"{_FILES}/{name}.{size}-0"] for name, size in tables.items()}
        lacking = {name for name, size in tables.items() if there.get(index[name][3]) != size}
        between = Path(scratch) / "table.parquet"
        for name, path in fetch_new(data_path, tables, lambda name: between if name in lacking else None, seen=seen):
            place.put(path, index[name][3])
            num_new, new_bytes = num_new + 1, new_bytes + tables[name]
        gone = [name for name in before["files"] if name not in index]
        catalog = Catalog(kind="sqlite", where=str(frozen))
        num_tables, num_rows = check_copy(source, source, catalog, wanted=index.keys(), gone=set(gone))
        there = _check_sent(place, index)
        kept = f"catalog-{file_sha256(frozen)[:16]}.sqlite"
        place.put(frozen, kept)
        place.write(_INDEX, json.dumps({"format": _FORMAT, "lake": str(source), "catalog": kept, "files": index}))
        named = {_INDEX, kept, *(facts[3] for facts in index.values())}
        place.remove([name for name in there if name not in named])
    sizes = [facts[0] for facts in index.values()]
    return Copied(
        num_files=len(index),
        num_bytes=sum(sizes),
        num_new=num_new,
        new_bytes=new_bytes,
        num_gone=len(gone),
        num_tables=num_tables,
        num_rows=num_rows,
    )


def pull_lake(
    uri: str,
    target: Path,
    *,
    database: Catalog | None = None,
    data_path: str | None = None,
    seen: Callable[[Path], None] = lambda path: None,
) -> Copied:
    """Make a lake in the new folder `target` of the copy at a URI, and open it. Interrupted, the same call goes on.

    Args:
        uri: where `push_lake` put the copy.
        target: a folder that is missing or empty, or where this was interrupted.
        database: Postgres database that becomes its catalog instead of a SQLite file.
        data_path: URI in a store for its tables, instead of its folder.
        seen: told of every file.

    Raises:
        LakeError: there is no copy at the URI, it lacks files, or the folder or the database holds something else.
        OSError: the store cannot be reached.
        ValueError: nothing here reaches such a URI, or it holds a password.
    """
    target = target.absolute()
    place = _place(uri)
    is_unfinished = check_target(target, target, is_restore=True)
    if database is not None:
        refuse_used_database(database, target, is_unfinished=is_unfinished)
    lasting = database or Catalog(kind="sqlite", where=str(target / CATALOG))
    if data_path is not None:
        refuse_place(data_path, target, lasting, is_unfinished=is_unfinished)
    partial = target / f".{CATALOG}.partial"
    num_new = new_bytes = 0
    index = _read_index(place)
    if index["catalog"] is None:
        raise LakeError(f"there is no backup at {uri} (no {_INDEX}); give the URI that `endoforge backup` was given")
    target.mkdir(parents=True, mode=0o700, exist_ok=True)
    partial.touch(mode=0o600)  # shows, from now on, that this was begun here
    _get(place, index["catalog"], partial)
    for name in dict(lake_files(target)):  # of a backup that has been replaced since
        if name not in index["files"]:
            (target / name).unlink()
    for name, facts in index["files"].items():
        seen(Path(name))
        path = target / name
        if path.is_file() and (path.stat().st_size, path.stat().st_mtime_ns) == tuple(facts[:2]):
            continue
        path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        _get(place, facts[3], path, facts)
        num_new, new_bytes = num_new + 1, new_bytes + facts[0]
    set_data_path(partial, target)
    copied = Catalog(kind="sqlite", where=str(partial))
    if database is not None:
        copy_catalog(target, copied, database)
    num_tables, num_rows = check_copy(target, target, database or copied, wanted=index["files"].keys(), gone=set())
    if data_path is not None:
        send_tables(target, database or copied, data_path, owner=lasting)
        clear_sent(target)  # before it is a lake: killed in between, this can be repeated
    if database is not None:
        write_catalog_file(target, database)
        partial.unlink()
    else:
        os.replace(partial, target / CATALOG)
    return Copied(
        num_files=len(index["files"]),
        num_bytes=sum(facts[0] for facts in index["files"].values()),
        num_new=num_new,
        new_bytes=new_bytes,
        num_gone=0,
        num_tables=num_tables,
        num_rows=num_rows,
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a store a copy lies; whatever its client raises becomes an OSError."""

    uri: str
    store: Any
    prefix: str

    def put(self, path: Path, name: str) -> None:
        with reaching(self.uri):
            self.store.put_file(str(path), f"{self.prefix}/{name}")

    def write(self, name: str, text: str) -> None:
        with reaching(self.uri):
            self.store.pipe_file(f"{self.prefix}/{name}", text.encode())

    def read(self, name: str) -> bytes:
        with reaching(self.uri):
            self.store.invalidate_cache()
            return bytes(self.store.cat_file(f"{self.prefix}/{name}"))

    def get(self, name: str, path: Path) -> None:
        with reaching(self.uri):
            self.store.get_file(f"{self.prefix}/{name}", str(path))

    def sizes(self) -> dict[str, int]:
        """Of all objects, by name."""
        with reaching(self.uri):
            self.store.invalidate_cache()
            found = self.store.find(self.prefix, detail=True)
        return {path.removeprefix(f"{self.prefix}/"): int(facts["size"]) for path, facts in found.items()}

    def remove(self, names: list[str]) -> None:
        with reaching(self.uri):
            for name in names:  # `rm` would take a name for a pattern
                self.store.rm_file(f"{self.prefix}/{name}")


def _place(uri: str) -> _Place:
    check_uri(uri)
    store, path = open_store(uri)
    return _Place(uri, store, path.rstrip("/"))


def _facts(name: str, entry: os.stat_result) -> list[Any]:
    """Size, time of change, mode, and the object that holds this state of the file."""
    return [entry.st_size, entry.st_mtime_ns, stat.S_IMODE(entry.st_mode), f"{_FILES}/{name}.{entry.st_size}-{entry.st_mtime_ns}"]


def _read_index(place: _Place, *, of: str | None = None) -> dict[str, Any]:
    """The index of the copy that is there; an empty one for an empty place, or one where the first copy was interrupted.

    Raises:
        LakeError: something else is there, or the copy is of another lake than `of`.
    """
    try:
        found: dict[str, Any] = json.loads(place.read(_INDEX))
    except FileNotFoundError:
        others = [name for name in place.sizes() if not name.startswith((f"{_FILES}/", "catalog-"))]
        if others:
            raise LakeError(f"{place.uri} holds something else, such as {others[0]}, and is no backup; give an empty place") from None
        return {"catalog": None, "files": {}}
    if found.get("format") != _FORMAT:
        raise LakeError(f"{place.uri} is in format {found.get('format')}, expected {_FORMAT}; use the version that wrote it")
    objects = [facts[3] for facts in found["files"].values()]
    if outside := [name for name in (*found["files"], *objects, found["catalog"]) if os.path.isabs(name) or ".." in Path(name).parts]:
        raise LakeError(f"{place.uri} names {outside[0]!r}, which lies outside a lake; somebody has changed it, use another backup")
    if of is not None and found["lake"] != of:
        raise LakeError(f"{place.uri} is a backup of {found['lake']}, not of {of}; give another place")
    return found


def _check_sent(place: _Place, index: dict[str, list[Any]]) -> dict[str, int]:
    """Sizes of all objects, once each of the index is there; one whose file grew while it was sent counts with the size that arrived."""
    there = place.sizes()
    for name, facts in index.items():
        if facts[3] not in there:
            raise LakeError(f"{name} is not at {place.uri}, and was sent; type the same command again, nothing was deleted there")
        facts[0] = there[facts[3]]  # other than its name says, it is sent again next time
    return there


def _get(place: _Place, name: str, to: Path, facts: list[Any] | None = None) -> None:
    """Fetch an object beside its place, then exchange."""
    partial = to.with_name(f".{to.name[:64]}.copy.tmp")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        place.get(name, partial)
    except FileNotFoundError as error:
        raise LakeError(
            f"the backup at {place.uri} names {name}, which is not there; type the same command again if a backup goes on, or use another"
        ) from error
    if facts is not None:
        if partial.stat().st_size != facts[0]:
            raise LakeError(f"{name} has {partial.stat().st_size} bytes, the backup says {facts[0]}; type the same command again")
        os.utime(partial, ns=(facts[1], facts[1]))
        partial.chmod(facts[2])
    os.replace(partial, to)
