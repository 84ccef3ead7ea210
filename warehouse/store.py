"""Atomic files and content ids: a file under its final name is whole, or it is not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # loading it takes as long as a whole refusal
    import pyarrow as pa

__all__ = [
    "ABANDONED_AFTER_S",
    "MACHINE_ERRORS",
    "atomic_file",
    "canonical_json",
    "content_id",
    "file_sha256",
    "flush_files",
    "is_whole_parquet",
    "read_json",
    "remove_abandoned",
    "write_json",
    "write_parquet",
]

MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""of the operating system, for which the machine and no input is at fault: disk full or over quota, read-only, too many open files"""

ABANDONED_AFTER_S = 24 * 3600.0
"""until a temporary file that nobody has written to since is taken to be a killed process's"""


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "wb", *, durable: bool = True, is_private: bool = False) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success fsync it and rename it to `path`, on an error remove it.

    Not `durable`, it outlives a killed process and may be lost, or empty, after a power cut: for what can be told from a whole one and made
    again. An fsync takes as long as decoding a second of video. `is_private` gives it mode 0600, whatever the umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name[:64]}.{secrets.token_hex(8)}.tmp"
    # as any new file, open to whom the umask of this process leaves it open, unless it is private from its first byte on
    descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600 if is_private else 0o666)
    try:
        with open(descriptor, mode) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(name, path)
        if durable:
            _sync(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def remove_abandoned(folder: Path, *, older_than_s: float) -> int:
    """Delete the temporary files under `folder` that killed writers, DuckDB among them, left; younger ones may belong to a living writer.

    Returns:
        how many there were.
    """
    num_removed = 0
    oldest = time.time() - older_than_s
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith((".", "duckdb_temp_")) and name.endswith(".tmp"):
                path = Path(parent, name)
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < oldest:
                        path.unlink()
                        num_removed += 1
    return num_removed


def flush_files(paths: Sequence[Path]) -> None:
    """Make files that were written without `durable` outlive a power cut, and their names too: one flush of each folder serves them all."""
    for path in [*paths, *dict.fromkeys(path.parent for path in paths)]:
        _sync(path)


def _sync(path: Path) -> None:
    """Of a folder this makes renames durable: without it a power cut can undo them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content as lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: object) -> str:
    """One spelling for one value: sorted keys, no spaces, dataclasses as objects, paths as strings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_encode)


def _encode(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON form; use a dataclass, str, number, bool, list or dict")


def content_id(value: object) -> str:
    """SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_json(path: Path, value: object, *, durable: bool = True) -> None:
    """Write `value` (dataclasses allowed) as JSON, atomically."""
    with atomic_file(path, durable=durable) as file:
        file.write(canonical_json(value).encode())


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    return json.loads(path.read_bytes())


def write_parquet(path: Path, table: pa.Table, *, durable: bool = True) -> None:
    """Write a table as zstd Parquet, atomically and with the same bytes for the same table."""
    import pyarrow.parquet as pq

    with atomic_file(path, durable=durable) as file:
        pq.write_table(table, file, compression="zstd")


def is_whole_parquet(path: Path) -> bool:
    """Whether there is such a file with its footer, which is written last."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowInvalid):
        return False
    return True
