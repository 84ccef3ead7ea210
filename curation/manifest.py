"""Manifests: a CSV or Parquet table that names videos and says what is known of them.

A patient's name or number never leaves this module: the lake gets its keyed hash (HMAC-SHA256), which nobody without the key can make
again from a list of patients, and the key is not stored.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from warehouse.store import file_sha256

__all__ = ["Manifest", "ManifestError", "VideoInfo", "is_manifest", "patient_key", "pseudonym", "read_manifest"]

COLUMNS = ("uri", "patient", "site", "device", "procedure", "date")
SUFFIXES = (".csv", ".parquet")
KEY_VARIABLE, KEY_FILE_VARIABLE = "ENDOFORGE_PATIENT_KEY", "ENDOFORGE_PATIENT_KEY_FILE"
_LEAST_KEY_BYTES = 16


class ManifestError(ValueError):
    """A manifest that cannot be used; the message says what is wrong with it and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What a manifest says of one video."""

    patient_id: str | None
    """pseudonym, 32 hexadecimal digits"""
    site: str | None
    device: str | None
    procedure: str | None
    date: str | None
    """as the manifest spells it"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A table that was read."""

    path: str
    sha256: str
    videos: Mapping[str, VideoInfo]
    """by absolute path"""


def is_manifest(path: Path) -> bool:
    """Whether a file that was named directly is a table of videos rather than a video."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def patient_key() -> bytes | None:
    """The key of the pseudonyms: the content of the file that ENDOFORGE_PATIENT_KEY_FILE names, or ENDOFORGE_PATIENT_KEY itself.

    Raises:
        ManifestError: the file cannot be read, or the key is shorter than 16 bytes.
    """
    source, key = KEY_VARIABLE, os.environ.get(KEY_VARIABLE, "").encode()
    if file := os.environ.get(KEY_FILE_VARIABLE):
        source = KEY_FILE_VARIABLE
        try:
            key = Path(file).read_bytes().strip()
        except OSError as error:
            raise ManifestError(f"{KEY_FILE_VARIABLE} names {file!r}, which cannot be read ({error.strerror})") from error
    if not key and source == KEY_VARIABLE:
        return None
    if len(key) < _LEAST_KEY_BYTES:
        raise ManifestError(
            f"the key in {source} has {len(key)} bytes, expected {_LEAST_KEY_BYTES} or more: make one with `openssl rand -hex 32`"
        )
    return key


def pseudonym(patient: str, key: bytes) -> str:
    """32 hexadecimal digits that stand for a patient; surrounding spaces do not matter."""
    return hmac.new(key, patient.strip().encode(), hashlib.sha256).hexdigest()[:32]


def read_manifest(path: Path, key: bytes | None) -> Manifest:
    """Read a manifest: `uri` is required (a path, relative to the manifest's folder, or a file:// URI); the rest may be missing or empty.

    Raises:
        ManifestError: it is no table, lacks `uri`, has a column that is not known, names a video twice with different information or one
            that is not on this machine's file systems, or has patients while there is no key.
    """
    table = _read(path)
    unknown = [name for name in table.column_names if name not in COLUMNS]
    if "uri" not in table.column_names or unknown:
        raise ManifestError(
            f"{str(path)!r} has the columns {', '.join(table.column_names)}; expected uri and any of {', '.join(COLUMNS[1:])}"
        )
    videos: dict[str, VideoInfo] = {}
    for number, row in enumerate(table.to_pylist(), start=1):
        if not row["uri"]:
            raise ManifestError(f"row {number} of {str(path)!r} has no uri; give one or remove the row")
        if row.get("patient") and key is None:
            raise ManifestError(
                f"{str(path)!r} names patients, and there is no key for their pseudonyms; set {KEY_FILE_VARIABLE} (or {KEY_VARIABLE}) to a "
                "secret that stays the same, for instance from `openssl rand -hex 32`"
            )
        info = VideoInfo(
            patient_id=pseudonym(row["patient"], key) if key is not None and row.get("patient") else None,
            **{name: row.get(name) or None for name in COLUMNS[2:]},
        )
        place = _local_path(row["uri"], path)
        if videos.setdefault(place, info) != info:
            raise ManifestError(f"row {number} of {str(path)!r} says something else of {row['uri']!r} than a row before it; keep one")
    return Manifest(path=str(path.absolute()), sha256=file_sha256(path), videos=videos)


def _read(path: Path) -> pa.Table:
    """The table with every column as text."""
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
        else:
            header = pyarrow.csv.open_csv(path).schema.names
            options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True)
            table = pyarrow.csv.read_csv(path, convert_options=options)
        return pa.table({name: pc.cast(table[name], pa.string()) for name in table.column_names})
    except (pa.ArrowException, OSError) as error:
        what = re.match(r"[^:]*(: Expected \d+ columns, got \d+)?", str(error))  # what follows may quote a row, and a row may hold a name
        raise ManifestError(
            f"{str(path)!r} is no readable table ({what[0] if what else type(error).__name__}); give CSV with a header, or Parquet"
        ) from None


def _local_path(uri: str, manifest: Path) -> str:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        uri = unquote(parts.path)
    elif "://" in uri:
        raise ManifestError(f"{uri!r} is not on a file system of this machine; mount or copy it, object stores are not read yet")
    return os.path.abspath(manifest.parent / uri)
