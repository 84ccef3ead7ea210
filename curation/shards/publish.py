"""A file of a dataset sent to an object store, whole and compared with its hash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from warehouse.object_store import open_store, reaching
from warehouse.store import file_sha256

__all__ = ["FileSending", "send_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSending:
    """One file to be sent."""

    path: str
    uri: str
    """place of the object that it becomes"""
    sha256: str


def send_file(sending: FileSending) -> int:
    """Put a file into a store, where it appears whole or not; returns the number of bytes sent, 0 for one that is there in this size.

    Raises:
        ValueError: the file is not what its hash says.
        OSError: the store cannot be reached, or has another size than was sent.
    """
    path = Path(sending.path)
    num_bytes = path.stat().st_size
    store, place = open_store(sending.uri)
    with reaching(sending.uri):
        store.invalidate_cache()
        if store.exists(place) and store.size(place) == num_bytes:
            return 0
    if (found := file_sha256(path)) != sending.sha256:
        raise ValueError(f"{path.name} has the SHA-256 {found}, expected {sending.sha256}; `endoforge verify` tells more")
    with reaching(sending.uri):
        store.put_file(str(path), place)
        store.invalidate_cache()
        arrived = store.size(place)
    if arrived != num_bytes:
        raise OSError(f"{sending.uri} has {arrived} bytes, {num_bytes} were sent; type the same command again")
    return num_bytes
