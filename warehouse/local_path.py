"""Folders on this machine: told apart from URIs, which `pathlib` would take for the names of folders, and lakes and outputs among them."""

from __future__ import annotations

import os
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

__all__ = ["belongs_to_lake", "holds_made_pictures", "is_lake", "lake_of", "local_path", "refuse_uris"]

_LOCKS = ("catalog.lock", "ingest.lock", "private.lock")
_OWN = {
    *("audits", "clusters", "embeddings", "encoders", "evaluations", "frames", "labels", "runs", "shards", "staging", "tables"),
    *_LOCKS,
}
"""Names that EndoForge gives to what it makes at the root of a lake."""
_MADE = (("selection.json", "labels.csv"), ("predictions.csv", "overlays"))
"""Names that stand together where select-for-labels or predict wrote pictures, inside a lake or not."""
_CATALOG = re.compile(r"(ducklake|postgres|postgresql|mysql|sqlite|duckdb|md|motherduck):", re.IGNORECASE)
_URI = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a Path has one slash where the URI had two


def local_path(path: Path | str, *, what: str) -> Path:
    """The path, if it is one.

    Args:
        path: what was given.
        what: what it is for, such as `--lake`.

    Raises:
        ValueError: it is a URI such as `s3://bucket/lake` or `file:///lake`, or names a database.
    """
    if _URI.match(str(path)):
        scheme = str(path).partition(":")[0]
        raise ValueError(
            f"{what} is {scheme}://..., a URI; give a folder or file of this machine; only videos, backups and tables (by init-lake) "
            "may lie elsewhere"
        )
    if found := _CATALOG.match(str(path)):
        raise ValueError(f"{what} is {found[0]}..., a catalog; give a folder, or ducklake:postgres:dbname=... host=... as --lake")
    return Path(path)


def refuse_uris(settings: object) -> None:
    """Look through a parsed command, or the settings of a flow, before anything is made.

    Raises:
        ValueError: a setting that is a path has a URI.
    """
    if not is_dataclass(settings):
        return
    for option in fields(settings):
        value = getattr(settings, option.name)
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path):
                local_path(path, what=f"--{option.name.replace('_', '-')}")
        refuse_uris(value)


def belongs_to_lake(name: str) -> bool:
    """Whether a file or folder of that name, at the root of a lake, is the lake's own."""
    return name in _OWN or name == "catalog.toml" or name.startswith("catalog.sqlite")


def holds_made_pictures(folder: str) -> bool:
    """Whether a folder was written by select-for-labels or predict, so that its pictures are copies of other frames."""
    return any(all(os.path.exists(os.path.join(folder, name)) for name in made) for made in _MADE)


def is_lake(folder: str) -> bool:
    """Whether a folder is the root of a lake."""
    marks = ("catalog.sqlite", "catalog.toml", *_LOCKS)  # a copy may lack the locks
    return os.path.isdir(os.path.join(folder, "tables")) and any(os.path.isfile(os.path.join(folder, mark)) for mark in marks)


def lake_of(path: str) -> str | None:
    """Root of the lake that a file or folder belongs to, such as a frame pack; None if it is no lake's own. Links are followed."""
    real = os.path.realpath(path)
    while (above := os.path.dirname(real)) != real:
        if belongs_to_lake(os.path.basename(real)) and is_lake(above):
            return above
        real = above
    return None
