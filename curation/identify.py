"""Identify a video by its content, unless it is still being written."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
import signal
import stat
from pathlib import Path

from curation.discover import current_version
from curation.remote import is_uri, read_chunks
from warehouse.records import VideoRef
from warehouse.store import content_id, file_sha256

__all__ = ["LeftForLater", "identify"]


class LeftForLater(Exception):
    """Why a video is not to be judged yet: the next run looks at it again."""


def identify(video: VideoRef) -> VideoRef | LeftForLater:
    """Read a video once and give it its id; one that cannot be read keeps an empty id.

    Left for later are local files that changed since they were found or while they were read, or that a process of this machine has open
    for writing, and objects in a store that does not answer.
    """
    is_local = not is_uri(video.path)
    if is_local and video.version is not None:
        if any(_is_open_for_writing(path) for path in video.images or (video.path,)):
            return LeftForLater("open for writing")
        if current_version(video) != video.version:
            return LeftForLater("just written to")
    try:
        identified = _identified_stills(video) if video.images else dataclasses.replace(video, video_id=_sha256(video.path))
    except OSError as error:
        if is_local or isinstance(error, FileNotFoundError | PermissionError):
            return video
        return LeftForLater(f"could not be read: {error}")
    if is_local and video.version is not None and current_version(video) != video.version:
        return LeftForLater("changed while it was read")
    return identified


def _identified_stills(video: VideoRef) -> VideoRef:
    """Over the images' contents in order, whatever they are called. While one cannot be read, the result is not worth remembering."""
    hashes: list[str | None] = []
    for image in video.images:
        try:
            hashes.append(_sha256(image))
        except (FileNotFoundError, PermissionError):
            hashes.append(None)
    if not any(hashes):
        return video
    return dataclasses.replace(video, video_id=content_id({"stills": hashes}), version=video.version if all(hashes) else None)


def _sha256(place: str) -> str:
    if not is_uri(place):
        if not stat.S_ISREG(os.stat(place).st_mode):  # a pipe would never end
            raise PermissionError(f"{place!r} is not a regular file")
        return file_sha256(Path(place))
    digest = hashlib.sha256()
    for chunk in read_chunks(place):
        digest.update(chunk)
    return digest.hexdigest()


def _is_open_for_writing(path: str) -> bool:
    """Whether a process here could still write to the file; False where the system does not tell (network drives, others' files).

    Linux grants a read lease only on files that nobody has open for writing. It is given back at once; should somebody open the file in
    between, the kernel's signal is one that is ignored.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
