"""Whole shards on a local disk, within a limit of bytes that all processes of the machine keep together.

A file's name is its SHA-256, so datasets and runs share what is equal. It is written as `.part`, whose lock says that its writer lives,
and gets its name once its bytes are known to be right. Files that were opened longest ago leave first. One that is still open lives on
for who reads it, as the system does with any file that is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

__all__ = ["DamagedShardError", "ShardCache", "Whole"]

_POLL_S = 0.2
_TRIES = 2  # a transfer may have gone wrong


class DamagedShardError(Exception):
    """What was fetched is not what the dataset says of the shard."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A shard as the dataset describes it."""

    sha256: str
    num_bytes: int


Fetch = Callable[[], Iterable[bytes]]
"""Gives a shard's content in pieces."""


class ShardCache:
    """A folder of whole shards."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        """Nothing is made before something is fetched.

        Args:
            folder: on a disk of this machine.
            limit_bytes: most that all shards in it take together, those on their way included.
        """
        self.folder, self.limit_bytes = folder, limit_bytes
        self._since = time.time()

    def open(self, shard: Whole, fetch: Fetch) -> int:
        """A descriptor of a shard, which is fetched if it is not there; waits for another process that fetches it.

        Raises:
            DamagedShardError: what was fetched twice is not the shard, here or by another process since this cache was made.
            OSError: it cannot be fetched or written.
        """
        path = self._path(shard)
        while True:
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                self.fetch(shard, fetch)
                continue
            _touch(descriptor)
            return descriptor

    def fetch(self, shard: Whole, fetch: Fetch, *, wait: bool = True) -> None:
        """Have a shard here.

        Args:
            shard: the one.
            fetch: gives its content.
            wait: for another process that fetches it, or until there is room; if not, nothing is done then.

        Raises:
            As `open`.
        """
        if (said := self.damage(shard)) is not None:
            raise DamagedShardError(said)
        try:
            _touch(self._path(shard))
            return
        except FileNotFoundError:
            pass
        while (part := self._claim(shard)) is None:
            if self._path(shard).exists() or not wait:
                return
            time.sleep(_POLL_S)
        part_path, is_kept = self._path(shard, ".part"), False
        try:
            for left in reversed(range(_TRIES)):
                trouble = _copy(fetch(), part, shard)
                if trouble is None:
                    os.fsync(part)
                    part_path.rename(self._path(shard))
                    is_kept = True
                    self._path(shard, ".damaged").unlink(missing_ok=True)
                    return
                if not left:
                    self._path(shard, ".damaged").write_text(trouble)
                    raise DamagedShardError(trouble)
        finally:
            if not is_kept:  # else the name may be another's again
                part_path.unlink(missing_ok=True)  # before its lock is free
            fcntl.flock(part, fcntl.LOCK_UN)  # a process forked meanwhile has the descriptor too
            os.close(part)

    def damage(self, shard: Whole) -> str | None:
        """What a process of this machine found wrong with a shard since this cache was made."""
        path = self._path(shard, ".damaged")
        try:
            return path.read_text() if path.stat().st_mtime >= self._since - 1 else None
        except FileNotFoundError:
            return None

    def _path(self, shard: Whole, suffix: str = ".tar") -> Path:
        return self.folder / (shard.sha256 + suffix)

    def _claim(self, shard: Whole) -> int | None:
        """A descriptor of the locked, empty `.part` of a shard; None if it is here or on its way, or there is no room yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock"):
            if self._path(shard).exists():
                return None
            path = self._path(shard, ".part")
            part = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            if not _lock(part):
                os.close(part)
                return None
            if not self._make_room(shard.num_bytes, path):
                path.unlink()
                os.close(part)
                return None
            os.ftruncate(part, shard.num_bytes)  # its length is what it claims
            return part

    def _make_room(self, num_bytes: int, own: Path) -> bool:
        """Remove the shards that were used longest ago until there is room for more; only while the folder's lock is held."""
        total, shards = num_bytes, []
        for path in self.folder.iterdir():
            if path.suffix == ".tar":
                found = path.stat()
                shards.append((found.st_mtime_ns, found.st_size, path))
                total += found.st_size
            elif path.suffix == ".part" and path != own:
                total += _living_bytes(path)
        for _, size, path in sorted(shards):
            if total <= self.limit_bytes:
                break
            path.unlink()
            total -= size
        return total <= self.limit_bytes


def _copy(chunks: Iterable[bytes], target: int, shard: Whole) -> str | None:
    """Write a shard's content; what is wrong with it, or None."""
    digest, num_bytes = hashlib.sha256(), 0
    os.lseek(target, 0, os.SEEK_SET)
    for chunk in chunks:
        digest.update(chunk)
        num_bytes += len(chunk)
        if num_bytes > shard.num_bytes:
            return f"is longer than the {shard.num_bytes} bytes that dataset.json says"
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(target, rest) :]
    if num_bytes < shard.num_bytes:
        return f"is cut short: it has {num_bytes} bytes, and dataset.json says {shard.num_bytes}"
    if digest.hexdigest() != shard.sha256:
        return f"is not what was written: its SHA-256 is {digest.hexdigest()}, and dataset.json says {shard.sha256}"
    return None


def _touch(file: int | Path) -> None:
    """Note that it is used now, more finely than the system does by itself."""
    now = time.time_ns()
    os.utime(file, ns=(now, now))


def _lock(descriptor: int) -> bool:
    """Whether nobody else holds the lock; the system frees it when its holder ends, however that is."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _living_bytes(part: Path) -> int:
    """What a living writer claims; what a dead one left is removed."""
    try:
        descriptor = os.open(part, os.O_RDWR)
    except FileNotFoundError:
        return 0
    try:
        if _lock(descriptor):
            part.unlink(missing_ok=True)
            return 0
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
