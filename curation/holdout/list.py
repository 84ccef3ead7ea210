"""What is held out: the pictures, videos and patients that folders, tables and evaluation sets name.

A patient's name stays here, as in a manifest (curation/sources/manifest.py): what leaves is the same keyed hash.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.sources import IMAGE_SUFFIXES, KEY_FILE_VARIABLE, KEY_VARIABLE, SIDECAR_SUFFIXES, is_uri, pseudonym
from warehouse.store import content_id, file_sha256

__all__ = ["HeldOutFile", "HoldoutError", "HoldoutList", "check_holdout", "read_holdout"]

_COLUMNS = {
    "path": ("path", "uri", "image", "file", "filename", "file-name", "file_name", "image_path"),
    "video": ("video", "video_id", "video_name", "video_uri", "video_file"),
    "patient": ("patient", "patient_id"),
    "group": ("group",),
}
_TABLES = (".csv", ".parquet")
_NUM_READERS = 4


class HoldoutError(ValueError):
    """A hold-out that cannot be used; the message says what is wrong with it and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutFile:
    """A picture or a video that must not be learned from."""

    path: str
    """absolute; for reading it, never recorded"""
    name: str
    """as the hold-out names it: below the folder that was given, or as the table spells it"""
    sha256: str
    is_image: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutList:
    """Everything that some paths hold out."""

    list_id: str
    """SHA-256 over all of it but the place where it lies"""
    label: str
    """the last parts of the paths"""
    files: tuple[HeldOutFile, ...]
    """one of each content, by name"""
    video_names: frozenset[str]
    """file names, with or without suffix and folders; URIs; or video ids"""
    patients: frozenset[str]
    """pseudonyms"""
    unreadable: tuple[str, ...]
    """names of pictures and videos that a table names and that are not there or cannot be read"""


def read_holdout(paths: Sequence[str], key: bytes | None) -> HoldoutList:
    """Read folders (of pictures or videos, an evaluation set's among them), single files, and tables (CSV or Parquet).

    A table's rows name pictures or videos (path, uri, image, file), videos (video, video_id) and patients (patient; group, as evaluation
    sets call it). Paths are relative to the table's folder or its images/. Of a folder with images/ and masks/ the masks are left out; a
    labels.csv or split.csv in a folder is read for the videos and patients it names.

    Args:
        paths: what is held out.
        key: that of the pseudonyms; see `patient_key`.

    Raises:
        HoldoutError: a path is not there or holds nothing to hold out, a table cannot be read or has no such column, or it names patients
            while there is no key.
    """
    named, video_names, patients = _listed(paths, key)
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        hashes = list(pool.map(_hash, named.values()))
    files: dict[str, HeldOutFile] = {}
    unreadable = []
    for (name, path), sha256 in sorted(zip(named.items(), hashes, strict=True)):
        if sha256 is None:
            unreadable.append(name)
        else:
            files.setdefault(sha256, HeldOutFile(path=str(path), name=name, sha256=sha256, is_image=_is_image(path)))
    content = {"files": sorted([file.sha256, file.name] for file in files.values()), "videos": sorted(video_names)}
    return HoldoutList(
        list_id=content_id({**content, "patients": sorted(patients), "unreadable": unreadable}),
        label=", ".join(Path(path).name for path in paths),
        files=tuple(files.values()),
        video_names=frozenset(video_names),
        patients=frozenset(patients),
        unreadable=tuple(unreadable),
    )


def check_holdout(paths: Sequence[str], key: bytes | None) -> None:
    """Look for what `read_holdout` will read, without reading a picture or a video.

    Raises:
        HoldoutError: as `read_holdout` does.
    """
    _listed(paths, key)


def _listed(paths: Sequence[str], key: bytes | None) -> tuple[dict[str, Path], set[str], set[str]]:
    """Files by the name that the hold-out gives them, the names of videos, and the pseudonyms of patients."""
    named: dict[str, Path] = {}
    video_names: set[str] = set()
    patients: set[str] = set()
    for given in paths:
        if is_uri(given):
            raise HoldoutError(f"the hold-out {given!r} is in an object store; copy it to a local disk")
        path = Path(given).expanduser().absolute()
        before = len(named), len(video_names), len(patients)
        if path.is_dir():
            for file in _files_below(path):
                named[file.relative_to(path.parent).as_posix()] = file
                if not _is_image(file):
                    video_names.add(file.relative_to(path).as_posix())
            for table in (path / "labels.csv", path / "split.csv"):
                if table.is_file():
                    _read_table(table, key, named, video_names, patients)
        elif path.suffix.lower() in _TABLES and path.is_file():
            _read_table(path, key, named, video_names, patients)
        elif path.is_file():
            named[path.name] = path
            if not _is_image(path):
                video_names.add(path.name)
        else:
            raise HoldoutError(f"the hold-out {given!r} does not exist; give a folder, a picture, a video, or a CSV or Parquet table")
        if before == (len(named), len(video_names), len(patients)):
            raise HoldoutError(f"the hold-out {given!r} names no picture, video or patient that another has not named; check the path")
    return named, video_names, patients


def _read_table(table: Path, key: bytes | None, named: dict[str, Path], video_names: set[str], patients: set[str]) -> None:
    rows = _rows(table)
    columns = {str(name).strip().lower(): str(name) for name in (rows[0] if rows else {})}
    roles = {role: [columns[alias] for alias in aliases if alias in columns] for role, aliases in _COLUMNS.items()}
    if not any(roles.values()):
        raise HoldoutError(
            f"{str(table)!r} has the columns {', '.join(columns) or 'none'}; expected one of path, uri, image, file, video or patient"
        )
    for row in rows:
        for name in filter(None, (row[column] for column in roles["path"])):
            path = _resolve(table.parent, name)
            if not _is_image(path):
                video_names.add(name)
            if _is_image(path) or path.is_file():
                spelled = name if not Path(name).is_absolute() else "/".join(Path(name).parts[-2:])
                named[spelled] = path
        video_names.update(filter(None, (row[column] for column in roles["video"])))
        for column in (*roles["patient"], *roles["group"]):
            if not row[column]:
                continue
            if re.fullmatch("[0-9a-f]{32}", row[column]):
                patients.add(row[column])  # a pseudonym already, as the lake's own tables have it
            elif key is not None:
                patients.add(pseudonym(row[column], key))
            elif column in roles["patient"]:
                raise HoldoutError(
                    f"{str(table)!r} names patients, and there is no key for their pseudonyms; set {KEY_FILE_VARIABLE} (or {KEY_VARIABLE}) "
                    "to the secret with which the manifests were read"
                )


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        if table.suffix.lower() == ".parquet":
            return [{name: "" if value is None else str(value) for name, value in row.items()} for row in pq.read_table(table).to_pylist()]
        with table.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=";" if ";" in header and "," not in header else ",", restval="")
            return [{name: (value or "").strip() for name, value in row.items() if name is not None} for row in reader]
    except (UnicodeDecodeError, csv.Error, OSError, pa.ArrowException) as error:
        raise HoldoutError(f"{str(table)!r} is no readable table ({type(error).__name__}); give CSV with a header, or Parquet") from None


def _resolve(folder: Path, name: str) -> Path:
    beside, in_images = folder / name, folder / "images" / name
    return in_images if in_images.is_file() and not beside.is_file() else beside


def _files_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if any(part.startswith(".") for part in inside) or path.name.lower().endswith(SIDECAR_SUFFIXES) or not path.is_file():
            continue
        if any(part == "masks" and Path(folder, *inside[:place], "images").is_dir() for place, part in enumerate(inside[:-1])):
            continue
        yield path


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _hash(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None
