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
from typing import TYPE_CHECKING

from curation.sources.discover import alone, find_videos, local_path, look_at
from curation.sources.remote import is_uri, look_up
from warehouse.records import VideoInfo, VideoRef
from warehouse.store import file_sha256

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Manifest", "ManifestError", "is_manifest", "listed_videos", "patient_key", "pseudonym", "read_manifest"]

COLUMNS = ("uri", "patient", "site", "device", "procedure", "date")
SUFFIXES = (".csv", ".parquet")
KEY_VARIABLE, KEY_FILE_VARIABLE = "ENDOFORGE_PATIENT_KEY", "ENDOFORGE_PATIENT_KEY_FILE"
_LEAST_KEY_BYTES = 16


class ManifestError(ValueError):
    """A manifest that cannot be used; the message says what is wrong with it and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A table that was read."""

    path: str
    sha256: str
    videos: Mapping[str, VideoInfo]
    """by absolute path or URI, of a file, an object, a folder or a glob"""


def is_manifest(path: Path) -> bool:
    """Whether a file that was named directly is a table of videos rather than a video.

    Raises:
        ManifestError: it is one in an object store.
    """
    is_table = path.suffix.lower() in SUFFIXES
    if is_table and re.match(r"[a-z0-9+.-]+:/", str(path)):
        raise ManifestError(f"the manifest {path.name!r} is in an object store; copy it to a local disk, its rows may be URIs")
    return is_table and path.is_file()


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
    """Read a manifest: `uri` is required (a path, relative to the manifest's folder, or a URI); the rest may be missing or empty.

    Raises:
        ManifestError: it is no table, lacks `uri`, has a column that is not known, names a video twice with different information, or has
            patients while there is no key.
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
        place = row["uri"] if _is_remote(row["uri"]) else os.path.abspath(path.parent / local_path(row["uri"]))
        if videos.setdefault(place, info) != info:
            raise ManifestError(f"row {number} of {str(path)!r} says something else of {row['uri']!r} than a row before it; keep one")
    return Manifest(path=str(path.absolute()), sha256=file_sha256(path), videos=videos)


def listed_videos(manifest: Manifest, *, lakes: set[str] | None = None) -> list[tuple[VideoRef, VideoInfo]]:
    """What a manifest names, not read yet; of a folder or glob everything in it, where no row of its own says something else.

    What is not there, or cannot be looked at, is among them without a version, so that it can be counted. `lakes` is that of `find_videos`.

    Raises:
        OSError: a store does not answer.
        ValueError: a URI's file system is not known or not installed.
    """
    objects = look_up([place for place in manifest.videos if is_uri(place)])
    exact: dict[str, tuple[VideoRef, VideoInfo]] = {}
    inside: dict[str, tuple[VideoRef, VideoInfo]] = {}
    for place, info in manifest.videos.items():
        if place in objects or os.path.isfile(place):
            exact[place] = alone(objects[place] if place in objects else look_at(place)), info
            continue
        try:
            inside.update((video.path, (video, info)) for video in find_videos([place], lakes=lakes))
        except OSError as error:
            if is_uri(place) and not isinstance(error, FileNotFoundError):
                raise
            exact[place] = VideoRef(video_id="", path=place, num_bytes=0), info
    return list({**inside, **exact}.values())


def _read(path: Path) -> pa.Table:
    """The table with every column as text."""
    import pyarrow as pa  # loading it takes as long as all checks of a command
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
        else:
            header = pyarrow.csv.open_csv(path).schema.names
            options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True)
            table = pyarrow.csv.read_csv(path, convert_options=options)
        return pa.table({name: pc.cast(table[name], pa.string()) for name in table.column_names})
    except (pa.ArrowException, OSError) as error:
        what = re.match(r"[^:]*(: (Row #\d+: )?Expected \d+ columns, got \d+)?", str(error))
        # what follows may quote a row, and a row may hold a name; rows are numbered only if one thread reads
        raise ManifestError(
            f"{str(path)!r} is no readable table ({what[0] if what else type(error).__name__}); give CSV with a header, or Parquet"
        ) from None


def _is_remote(uri: str) -> bool:
    return is_uri(local_path(uri))
