"""Folders on this machine, told apart from URIs, which `pathlib` would take for the names of folders."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["local_path"]

_URI = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a Path has one slash where the URI had two


def local_path(path: Path | str, *, what: str) -> Path:
    """The path, if it is one.

    Args:
        path: what was given.
        what: what it is for, such as `--lake`.

    Raises:
        ValueError: it is a URI such as `s3://bucket/lake` or `file:///lake`.
    """
    if _URI.match(str(path)):
        scheme = str(path).partition(":")[0]
        raise ValueError(f"{what} is {scheme}://..., a URI; give a folder or file of this machine; only input videos may lie elsewhere")
    return Path(path)
