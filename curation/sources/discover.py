"""Find what a user names: video files, the images of a folder as one video of stills, and either in an object store."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from curation.sources.left_for_later import irregular
from curation.sources.remote import is_uri, list_store
from warehouse.local_path import belongs_to_lake, holds_made_pictures, is_lake, lake_of
from warehouse.records import VideoRef
from warehouse.store import content_id, file_sha256

__all__ = ["alone", "current_version", "find_videos", "hash_video", "local_path", "look_at", "seconds_since_change"]

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
(curation/sources/manifest.py) and the others are tried like any other file."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Files that are stills; those that are found in one folder make one video."""


def find_videos(inputs: Sequence[str], *, lakes: set[str] | None = None) -> tuple[VideoRef, ...]:
    """Expand files, folders (recursive, without hidden and sidecar files), globs and fsspec URIs of any of these, sorted by path.

    What belongs to a lake, this one or another, is left out: frames of its packs, private ones too, would come back as videos. So are
    the folders of select-for-labels and of predict, wherever they lie: their pictures would come back as stills of no known patient.

    Nothing is read yet: the ids are empty. All images found in one folder are one video, in natural order of their names. Links to folders
    are followed; a folder that is reached in several ways is taken once, by the way without a link if there is one.

    Args:
        inputs: what is named.
        lakes: is given the root of each lake whose own files were left out, and each folder of pictures that was.

    Raises:
        FileNotFoundError: an input matches nothing, or there is no file at all.
        OSError: an input cannot be looked at, a folder cannot be listed, or a store does not answer.
        ValueError: a URI's file system is not known or not installed.
    """
    found: dict[str, VideoRef] = {}
    taken: set[str] = set()
    lakes = set() if lakes is None else lakes
    for name in inputs:
        place = local_path(name)
        listed = _wanted_objects(place) if is_uri(place) else map(look_at, _local_files(place, taken, lakes))
        found.update((video.path, video) for video in listed)
    if not found:
        names = ", ".join(repr(name) for name in inputs) or "no input"
        outside = f" but what {_told(min(lakes))}" if lakes else ""
        raise FileNotFoundError(f"no video found in {names}{outside}; name a video file or a folder that holds some")
    return tuple(sorted(_with_stills(found.values()), key=lambda video: video.path))


def _told(left_out: str) -> str:
    return f"the lake {left_out} is made of" if is_lake(left_out) else f"select-for-labels or predict wrote to {left_out}"


def local_path(name: str) -> str:
    """The path that a file:// URI stands for; anything else as it is."""
    return unquote(urlsplit(name).path) if name.startswith("file://") else name


def look_at(path: str) -> VideoRef:
    """A local file before it is read."""
    absolute = os.path.abspath(path)
    try:
        status = os.stat(absolute)
    except OSError:
        return VideoRef(video_id="", path=absolute, num_bytes=0)
    return VideoRef(video_id="", path=absolute, num_bytes=status.st_size, version=f"{status.st_size}-{status.st_mtime_ns}")


def hash_video(path: str) -> VideoRef:
    """Identify a local video file as it is now. One that cannot be read keeps an empty id, and `ingest_video` rejects it."""
    video = look_at(path)
    try:
        return dataclasses.replace(video, video_id=file_sha256(Path(video.path)))
    except OSError:
        return video


def alone(file: VideoRef) -> VideoRef:
    """A file that was named for itself: an image is a video of one still."""
    return next(_with_stills([file]))


def current_version(video: VideoRef) -> str | None:
    """The version that a local video has now."""
    return _stills([look_at(image) for image in video.images]).version if video.images else look_at(video.path).version


def seconds_since_change(video: VideoRef) -> float:
    """How long ago a local video was written to, a clock that runs ahead forgiven; infinite for an object, which is whole or not there."""
    if is_uri(video.path):
        return float("inf")
    try:
        return abs(time.time() - max(os.stat(path).st_mtime for path in video.images or (video.path,)))
    except OSError:
        return float("inf")


def _local_files(name: str, taken: set[str], lakes: set[str]) -> Iterator[str]:
    """The files that a path or glob names. `taken` holds the real paths of the folders that were listed; new ones are added.

    What belongs to a lake is not among them, nor what lies in a folder of select-for-labels or predict; their roots are added to `lakes`.
    """
    path = os.path.expanduser(name)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        matches = glob.glob(path, recursive=True)
    except OSError as error:
        raise PermissionError(f"{name!r} cannot be looked at ({error.strerror}); mount it, grant access or leave it out") from error
    else:
        matches = [path]
    if not matches:
        raise FileNotFoundError(f"{name!r} is no file, folder or glob that matches anything; check the path")
    folders = {match for match in matches if os.path.isdir(match)}
    for file in (match for match in matches if match not in folders):
        if lake := lake_of(file):
            lakes.add(lake)
        else:
            yield file
    yield from _walk((match for match in matches if match in folders), taken, lakes)


def _walk(folders: Iterable[str], taken: set[str], lakes: set[str]) -> Iterator[str]:
    """The wanted files below some folders. Links to folders come last, so that a loop ends at what is taken already."""
    waiting = deque(folders)
    while waiting:
        top = waiting.popleft()
        if left_out := lake_of(top) or _made_around(top):
            lakes.add(left_out)
            continue
        for parent, inside, names in os.walk(top, onerror=_refuse_to_go_on):
            real = os.path.realpath(parent)
            if real in taken:
                inside.clear()
                continue
            taken.add(real)
            if holds_made_pictures(real):
                lakes.add(real)
                inside.clear()
                continue
            if is_lake(real):
                lakes.add(real)
                inside[:] = [name for name in inside if not belongs_to_lake(name)]
                names = [name for name in names if not belongs_to_lake(name)]
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            waiting.extend(path for name in inside if os.path.islink(path := os.path.join(parent, name)))
            yield from (os.path.join(parent, name) for name in names if _is_wanted(name))


def _made_around(folder: str) -> str | None:
    """The folder of select-for-labels or predict that this one lies in; None if there is none."""
    return next((str(above) for above in Path(os.path.realpath(folder)).parents if holds_made_pictures(str(above))), None)


def _refuse_to_go_on(error: OSError) -> None:
    raise PermissionError(f"folder {error.filename!r} cannot be listed ({error.strerror}); grant read access or leave it out") from error


def _wanted_objects(uri: str) -> list[VideoRef]:
    objects = list_store(uri)
    if len(objects) == 1 and objects[0].path == uri:
        return objects
    return [item for item in objects if all(_is_wanted(part) for part in item.path.removeprefix(uri).split("/") if part)]


def _is_wanted(name: str) -> bool:
    return not name.startswith(".") and not name.lower().endswith(SIDECAR_SUFFIXES)


def _with_stills(files: Iterable[VideoRef]) -> Iterator[VideoRef]:
    folders: dict[str, list[VideoRef]] = defaultdict(list)
    for file in files:
        if file.path.lower().endswith(IMAGE_SUFFIXES) and (is_uri(file.path) or not irregular(file.path)):
            folders[file.path.rpartition("/")[0]].append(file)
        else:
            yield file
    yield from (_stills(sorted(images, key=_natural_order)) for images in folders.values())


def _stills(images: Sequence[VideoRef]) -> VideoRef:
    """The images of one folder, in the order given, as one video; a single one goes by its own name."""
    path = images[0].path
    versions = [[image.path.rpartition("/")[2], image.version] for image in images]
    return VideoRef(
        video_id="",
        path=path if len(images) == 1 else path.rpartition("/")[0] or "/",
        num_bytes=sum(image.num_bytes for image in images),
        version=content_id(versions) if all(image.version for image in images) else None,
        images=tuple(image.path for image in images),
    )


def _natural_order(image: VideoRef) -> tuple[list[str | int], str]:
    """Image 2 before image 10."""
    parts = re.split(r"(\d+)", image.path.casefold())
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], image.path
