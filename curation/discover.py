"""Find the video files that a user names, and identify each by its content."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from warehouse.records import VideoRef
from warehouse.store import file_sha256

__all__ = ["find_videos", "hash_video"]

SIDECAR_SUFFIXES = (
    ".parquet",
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".txt",
    ".md",
    ".xml",
    ".yaml",
    ".yml",
    ".srt",
    ".vtt",
    ".log",
    ".sha256",
)
"""Files that are left alone, without a reject, when a folder is searched. Named directly, a .csv or .parquet is a manifest
(curation/manifest.py) and the others are tried like any other file."""


def find_videos(inputs: Sequence[str]) -> tuple[Path, ...]:
    """Expand files, folders (recursive, without hidden and sidecar files) and globs to a sorted list of absolute paths.

    Raises:
        FileNotFoundError: an input matches nothing, or there is no file at all.
        PermissionError: a folder cannot be listed.
    """
    found: set[Path] = set()
    for name in inputs:
        path = Path(name).expanduser()
        if path.is_dir():
            found.update(_walk(path))
        elif path.exists() or path.is_symlink():
            found.add(path)
        else:
            matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
            if not matches:
                raise FileNotFoundError(f"{name!r} is no file, folder or glob that matches anything; check the path")
            for match in matches:
                found.update(_walk(match) if match.is_dir() else [match])
    if not found:
        listed = ", ".join(repr(name) for name in inputs) or "no input"
        raise FileNotFoundError(f"no video found in {listed}; name a video file or a folder that holds some")
    return tuple(sorted({Path(os.path.abspath(path)) for path in found}))


def _walk(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        raise PermissionError(
            f"folder {error.filename!r} cannot be listed ({error.strerror}); grant read access or leave it out"
        ) from error

    files = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(parent, name) for name in names if not name.startswith(".") and not name.lower().endswith(SIDECAR_SUFFIXES)]
    return files


def hash_video(path: str) -> VideoRef:
    """Identify a file by its content. A file that cannot be read gets an empty id, and `ingest_video` rejects it."""
    absolute = os.path.abspath(path)
    try:
        return VideoRef(video_id=file_sha256(Path(absolute)), path=absolute, num_bytes=os.path.getsize(absolute))
    except OSError:
        return VideoRef(video_id="", path=absolute, num_bytes=0)
