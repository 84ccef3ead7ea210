"""Bytes of a dataset's tars: from a local folder, from a store piece by piece, or whole through a cache on a local disk."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from pretrain.config import DataConfig
from pretrain.shard_cache import DamagedShardError, ShardCache, Whole
from warehouse.object_store import check_uri, is_uri, open_store, reaching, read_range
from warehouse.store import MACHINE_ERRORS

__all__ = ["ShardFiles", "UnreadableError", "open_files", "warn_of_small_cache"]

_log = logging.getLogger(__name__)

_CHUNK_BYTES = 16 << 20
_WAITS_S = (1.0, 4.0, 15.0)  # between tries of a store that does not answer


class UnreadableError(Exception):
    """A sample's bytes cannot be read, or are not those that were written."""


class ShardFiles(Protocol):
    """The tars of a dataset, by number."""

    def read(self, shard: int, start: int, num_bytes: int) -> bytes:
        """Bytes of a tar, fewer if it ends before.

        Raises:
            UnreadableError: the tar is missing, damaged or on a bad place of the disk.
            OSError: the system or the store refuses it, or does not answer.
        """
        ...

    def num_bytes(self, shard: int) -> int:
        """Length of a tar.

        Raises:
            UnreadableError: it is damaged; the message says how.
            OSError: it cannot be opened.
        """
        ...

    def expect(self, now: Sequence[int], ahead: Sequence[int]) -> None:
        """Hear which tars are read now and which after them; may be called whenever that changes."""
        ...


def open_files(dataset_dir: Path, names: Sequence[str], whole: Mapping[str, Whole], data: DataConfig, *, max_open: int) -> ShardFiles:
    """The tars of a dataset, read as the settings say.

    Args:
        dataset_dir: holds them if the settings name no other place.
        names: of the tars.
        whole: hash and length by name, where dataset.json says them.
        data: where they are and how they are read.
        max_open: files open at a time.

    Raises:
        ValueError: the URI cannot be used, the cache is smaller than a shard, or dataset.json lacks what shards are checked by.
    """
    place = data.shards or str(dataset_dir)
    if is_uri(place):
        check_uri(place)
    if data.reader == "random" or not data.cache_gb:
        return RemoteFiles(place, names) if is_uri(place) else LocalFiles([partial(_open, f"{place}/{name}") for name in names], max_open)
    unknown = [name for name in names if name not in whole]
    if unknown:
        raise ValueError(f"dataset.json of {dataset_dir} has no SHA-256 of {unknown[0]}, which the cache needs; give data.reader random")
    limit_bytes, largest = int(data.cache_gb * 1e9), max(whole[name].num_bytes for name in names)
    if limit_bytes < largest:
        raise ValueError(
            f"data.cache_gb is {data.cache_gb:g}, and a shard of {dataset_dir} has {largest / 1e9:g} GB; give several times that"
        )
    folder = Path(data.cache_dir) if data.cache_dir else _default_cache()
    return CachedFiles(place, names, [whole[name] for name in names], ShardCache(folder, limit_bytes=limit_bytes), max_open)


class LocalFiles:
    """Files that this machine opens and reads at any place."""

    def __init__(self, openers: Sequence[Callable[[], int]], max_open: int) -> None:
        """Nothing is opened yet.

        Args:
            openers: give a descriptor of each.
            max_open: far below the usual limit of 1024 open files.
        """
        self._openers, self._max_open = openers, max_open
        self._descriptors: OrderedDict[int, int] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_descriptors": OrderedDict()}  # they mean nothing in another process

    def read(self, shard: int, start: int, num_bytes: int) -> bytes:
        """Bytes of a file."""
        try:
            return os.pread(self._descriptor(shard), num_bytes, start)
        except OSError as error:
            self.close([shard])  # a handle that went stale would stay so
            if error.errno not in (errno.ENOENT, errno.EIO):  # says nothing of the data
                raise
            raise UnreadableError(str(error)) from error

    def num_bytes(self, shard: int) -> int:
        """Length of a file."""
        return os.fstat(self._descriptor(shard)).st_size

    def expect(self, now: Sequence[int], ahead: Sequence[int]) -> None:
        """Files are there already."""

    def close(self, shards: Iterable[int]) -> None:
        """Close those of these that are open."""
        for shard in shards:
            if shard in self._descriptors:
                os.close(self._descriptors.pop(shard))

    def close_all_but(self, shards: Iterable[int]) -> None:
        """Close what else is open."""
        self.close(self._descriptors.keys() - set(shards))

    def _descriptor(self, shard: int) -> int:
        if shard in self._descriptors:
            self._descriptors.move_to_end(shard)
            return self._descriptors[shard]
        descriptor = self._openers[shard]()
        self._descriptors[shard] = descriptor
        if len(self._descriptors) > self._max_open:
            os.close(self._descriptors.popitem(last=False)[1])
        return descriptor


class RemoteFiles:
    """Objects of a store, of which each read is a request."""

    def __init__(self, place: str, names: Sequence[str]) -> None:
        self._place, self._names = place.rstrip("/"), names

    def read(self, shard: int, start: int, num_bytes: int) -> bytes:
        """Bytes of an object."""
        uri = self._uri(shard)
        try:
            return _asked_for(uri, start, num_bytes)
        except FileNotFoundError as error:
            raise UnreadableError(f"there is no {uri}") from error

    def num_bytes(self, shard: int) -> int:
        """Length of an object."""
        return _object_bytes(self._uri(shard))

    def expect(self, now: Sequence[int], ahead: Sequence[int]) -> None:
        """Nothing is kept."""

    def _uri(self, shard: int) -> str:
        return f"{self._place}/{self._names[shard]}"


class CachedFiles:
    """Tars that are fetched whole, each read once from its start to its end, and then read from the cache."""

    def __init__(self, place: str, names: Sequence[str], whole: Sequence[Whole], cache: ShardCache, max_open: int) -> None:
        """Nothing is fetched yet.

        Args:
            place: folder or URI that has the tars.
            names: of the tars.
            whole: hash and length of each.
            cache: where they are kept.
            max_open: files open at a time.
        """
        self._place, self._names, self._whole, self.cache = place.rstrip("/"), names, whole, cache
        self._files = LocalFiles([partial(self._open, shard) for shard in range(len(names))], max_open)
        self._asked: object = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_asked": None}

    def read(self, shard: int, start: int, num_bytes: int) -> bytes:
        """Bytes of a tar."""
        return self._files.read(shard, start, num_bytes)

    def num_bytes(self, shard: int) -> int:
        """Length of a tar; what a process of this machine found damaged is not fetched for this."""
        if (said := self.cache.damage(self._whole[shard])) is not None:
            raise UnreadableError(said)
        return self._files.num_bytes(shard)

    def bytes_of(self, shards: Iterable[int]) -> int:
        """What they take in the cache."""
        return sum(self._whole[shard].num_bytes for shard in shards)

    def expect(self, now: Sequence[int], ahead: Sequence[int]) -> None:
        """Fetch beside what goes on here: first what is read now, then what there is room for without removing that."""
        self._files.close_all_but([*now, *ahead])
        room = self.cache.limit_bytes - self.bytes_of(now)
        wanted = list(now)
        for shard in ahead:
            if shard not in now:
                room -= self._whole[shard].num_bytes
                if room < 0:
                    break
                wanted.append(shard)
        self._asked = asked = object()

        def fetch_all() -> None:
            for shard in wanted:
                if self._asked is not asked:
                    return
                try:
                    self.cache.fetch(self._whole[shard], partial(self._content, shard), wait=False)
                except (DamagedShardError, OSError):
                    continue  # who reads it meets the same

        threading.Thread(target=fetch_all, name="fetch shards", daemon=True).start()

    def _open(self, shard: int) -> int:
        try:
            return self.cache.open(self._whole[shard], partial(self._content, shard))
        except DamagedShardError as error:
            raise UnreadableError(str(error)) from error
        except FileNotFoundError as error:
            raise UnreadableError(f"cannot be opened: it is not in {self._place}") from error

    def _content(self, shard: int) -> Iterator[bytes]:
        """A tar in pieces, one more than there should be: a longer one is found out."""
        place = f"{self._place}/{self._names[shard]}"
        if not is_uri(place):
            yield from _file_chunks(place)
            return
        for start in range(0, self._whole[shard].num_bytes + 1, _CHUNK_BYTES):
            yield _asked_for(place, start, _CHUNK_BYTES)


def warn_of_small_cache(files: ShardFiles, windows: Iterable[Sequence[int]]) -> None:
    """Say once that a cache does not hold the tars of a window, so that each is fetched many times.

    Args:
        files: of the dataset.
        windows: tars of each window.
    """
    if not isinstance(files, CachedFiles):
        return
    largest = max(map(files.bytes_of, windows))
    if largest > files.cache.limit_bytes:
        _log.warning(
            "data.cache_gb is %g and the shards of a window have %.3g GB, so they are fetched again and again; give %.3g or more, or, in "
            "another run, a smaller data.window_images", files.cache.limit_bytes / 1e9, largest / 1e9, 2.2 * largest / 1e9,
        )  # fmt: skip


def _asked_for(uri: str, start: int, num_bytes: int) -> bytes:
    """Bytes of an object, none beyond its end; a store that does not answer is asked again after a while.

    Raises:
        OSError: it never answered (EHOSTUNREACH), or what trying again does not change.
    """
    for wait_s in (*_WAITS_S, None):
        try:
            return read_range(uri, start, num_bytes)
        except OSError as error:
            if error.errno == errno.EINVAL and start >= _object_bytes(uri):  # S3 refuses what begins beyond the end
                return b""
            if isinstance(error, FileNotFoundError | PermissionError) or error.errno in MACHINE_ERRORS:
                raise
            if wait_s is None:
                raise OSError(errno.EHOSTUNREACH, f"{error}, after {len(_WAITS_S) + 1} tries", uri) from error
            time.sleep(wait_s)
    raise AssertionError


def _object_bytes(uri: str) -> int:
    store, path = open_store(uri)
    with reaching(uri):
        store.invalidate_cache()
        return int(store.size(path))


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY)


def _file_chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "endoforge" / "shards"
