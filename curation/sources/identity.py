"""Identify a video by its content, unless it is still being written or cannot be read now."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
import signal
from pathlib import Path

from curation.sources.discover import current_version
from curation.sources.left_for_later import LeftForLater, irregular, withheld
from curation.sources.remote import is_uri, read_chunks
from warehouse.records import Left, VideoRef
from warehouse.store import content_id, file_sha256

__all__ = ["identify"]


def identify(video: VideoRef) -> VideoRef | Left:
    """Read a video once and give it its id.

    Returns:
        The video with its id; with an empty one if it is not a file (a FIFO, a socket, a device, a link to itself); or why it is left for
        the next run: it changed since it was found or while it was read, a process of this machine has it open for writing, or the file
        system or store does not give it.

    Raises:
        OSError: this machine has no room, memory or file handles left.
    """
    if is_uri(video.path):
        try:
            return _identified(video)
        except LeftForLater as reason:
            return reason.left
    if not video.images and irregular(video.path):
        return video
    if video.version is not None and (left := _unsettled(video)):
        return left
    try:
        identified = _identified(video)
    except LeftForLater as reason:
        return reason.left
    if video.version is not None and current_version(video) != video.version:
        return Left(reason="changed", detail="changed while it was read")
    return identified


def _unsettled(video: VideoRef) -> Left | None:
    """Why a local video that was found is not whole yet."""
    places = video.images or (video.path,)
    if any(_is_open_for_writing(path) for path in places):
        return Left(reason="being_written", detail="open for writing")
    if current_version(video) == video.version:
        return None
    for path in places:
        try:
            os.stat(path)
        except OSError as error:
            return _named(withheld(error, path), path, video)
    return Left(reason="being_written", detail="just written to")


def _identified(video: VideoRef) -> VideoRef:
    """The video with its id: over one file's bytes, or over the images' contents in order, whatever they are called."""
    hashes: list[str] = []
    for place in video.images or (video.path,):
        try:
            hashes.append(_sha256(place))
        except OSError as error:
            raise LeftForLater(_named(withheld(error, None if is_uri(place) else place), place, video)) from error
    return dataclasses.replace(video, video_id=content_id({"stills": hashes}) if video.images else hashes[0])


def _named(left: Left, place: str, video: VideoRef) -> Left:
    """The same with the name of the image, of those of a folder."""
    name = place.rpartition("/")[2]
    return dataclasses.replace(left, detail=f"{name}: {left.detail}") if len(video.images) > 1 else left


def _sha256(place: str) -> str:
    if not is_uri(place):
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
