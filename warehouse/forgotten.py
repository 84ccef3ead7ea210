"""Whom a lake has forgotten: keyed hashes that keep videos and patients out, and signed records of what was removed.

The hashes say nothing without the key, which lies beside them with mode 0600. Whoever holds both can only ask whether one given video or
patient was forgotten.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import secrets
import socket
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from warehouse.provenance import current_user
from warehouse.store import atomic_file, canonical_json, read_json

__all__ = ["Forgetting", "forgotten_hash", "forgotten_in", "is_authentic", "lake_key", "read_records", "request", "write_record"]

_FOLDER = "forgotten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """What one request removed; names neither the patient nor a video."""

    hashes: tuple[str, ...]
    """keyed hashes of the videos and patients, which are not taken in again"""
    requested_by: str
    recorded_at: str
    """UTC"""
    recorded_by: str
    """user and host"""
    num_videos: int
    rows: dict[str, int] = field(default_factory=dict)
    """rows removed, by table"""
    num_files: int = 0
    num_bytes: int = 0
    """files deleted"""
    datasets: dict[str, str] = field(default_factory=dict)
    """successor of each withdrawn dataset by its id; empty if nothing was left"""
    models: tuple[str, ...] = ()
    """pretraining runs whose data held what was removed"""
    left: tuple[str, ...] = ()
    """files in which a search afterwards still found a trace"""


def lake_key(root: Path, *, is_kept: bool = True) -> bytes:
    """The lake's own key; where there is none one is made, and written with mode 0600 if it is to be kept."""
    path = root / _FOLDER / "key"
    if path.is_file():
        return bytes.fromhex(path.read_text())
    if not is_kept:
        return secrets.token_bytes(32)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with atomic_file(path, is_private=True) as file:
        file.write(secrets.token_hex(32).encode())
    return bytes.fromhex(path.read_text())


def forgotten_hash(root: Path, identifier: str) -> str:
    """Keyed hash of a video id or a patient's pseudonym; the key is made where there is none."""
    return _keyed_hash(lake_key(root), identifier)


def forgotten_in(root: Path) -> Callable[[str], bool]:
    """Tells whether a lake has forgotten what an id or a pseudonym names; key and records are read once, here."""
    hashes = frozenset(value for record in read_records(root) for value in record.hashes)
    if not hashes:
        return lambda identifier: False
    key = lake_key(root)
    return lambda identifier: _keyed_hash(key, identifier) in hashes


def read_records(root: Path) -> list[Forgetting]:
    """All records of a lake, in the order they were made."""
    folder = root / _FOLDER
    found = [read_json(path)["record"] for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    return [Forgetting(**{**one, **{name: tuple(one[name]) for name in ("hashes", "models", "left")}}) for one in found]


def write_record(root: Path, record: Forgetting) -> Path:
    """Write a record with its signature: a keyed hash of its text. A record of the same request is replaced."""
    signature = forgotten_hash(root, canonical_json(asdict(record)))
    path = root / _FOLDER / f"{record.recorded_at.replace(':', '')}-{record.hashes[0][:8]}.json"
    with atomic_file(path, is_private=True) as file:
        file.write(canonical_json({"record": asdict(record), "signature": signature}).encode())
    return path


def is_authentic(root: Path, path: Path) -> bool:
    """Whether a record is as it was written."""
    stored = read_json(path)
    return hmac.compare_digest(stored["signature"], forgotten_hash(root, canonical_json(stored["record"])))


def _keyed_hash(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def request(root: Path, identifiers: Iterable[str], *, requested_by: str, num_videos: int) -> Forgetting:
    """The record of a request before anything is removed."""
    return Forgetting(
        hashes=tuple(forgotten_hash(root, one) for one in identifiers),
        requested_by=requested_by,
        recorded_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        recorded_by=f"{current_user()}@{socket.gethostname()}",
        num_videos=num_videos,
    )
