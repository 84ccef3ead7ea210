"""Reasons to leave a file for the next run: what the machine or the network does is never a verdict on a video."""

from __future__ import annotations

import errno
import os
import stat

from warehouse.records import Left
from warehouse.store import MACHINE_ERRORS

__all__ = ["LeftForLater", "irregular", "is_gone", "withheld"]

_UNREACHABLE = (
    errno.ESTALE,
    errno.ENOTCONN,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ENODEV,
    errno.ENXIO,
)
_KINDS = ((stat.S_ISFIFO, "a FIFO (named pipe)"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))


class LeftForLater(Exception):
    """Raised where a file cannot be judged yet. Not a subclass of the errors that damaged content causes.

    Attributes:
        left: reason and detail.
    """

    def __init__(self, left: Left) -> None:
        super().__init__(left)
        self.left = left


def withheld(error: OSError, path: str | None = None) -> Left:
    """Why the operating system, or a store, did not give a file; without the path, which may hold a name.

    Args:
        error: what opening or reading raised.
        path: local path, to tell a dangling link from a missing file.

    Raises:
        OSError: `error` itself, if it says that this machine has no room, memory or file handles left.
    """
    if error.errno in MACHINE_ERRORS:
        raise error
    said = error.strerror or " ".join(str(error).split())[:300]
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if path is not None and os.path.islink(path):
            return Left(reason="missing", detail="a symbolic link whose target is not there")
        return Left(reason="missing", detail=error.strerror or "the store has no such object")
    if isinstance(error, IsADirectoryError):
        return Left(reason="missing", detail="a folder in which no video is found: empty, not mounted, or closed")
    if isinstance(error, PermissionError):
        return Left(reason="no_access", detail=said)
    if isinstance(error, TimeoutError | ConnectionError) or error.errno in _UNREACHABLE or error.errno is None:
        return Left(reason="unreachable", detail=said)
    return Left(reason="io_error", detail=said)


def irregular(path: str) -> str | None:
    """What a local path is that can never hold a video, such as "a FIFO (named pipe)"; None for a file, and if nothing is known."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return "a symbolic link that leads back to itself" if error.errno == errno.ELOOP else None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), None)


def is_gone(path: str) -> bool:
    """Whether there is certainly nothing at a local path; False if the file system does not say."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
