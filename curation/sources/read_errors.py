"""A source file whose reading errors are remembered: decoders hide them, or report them as damage of the content."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import IO, Any, cast

from curation.sources.left_for_later import LeftForLater, withheld

__all__ = ["SourceFile", "source_file"]


class SourceFile:
    """A binary file for decoders (PyAV, Pillow, pydicom). After the first error of the operating system it is at its end.

    The error is not raised into the decoder: FFmpeg would carry it into whatever is decoded next.

    Attributes:
        name: the path, whose suffix FFmpeg takes into account.
        fault: the first error.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.name = name
        self.fault: OSError | None = None
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end or after a fault."""
        if self.fault is None:
            try:
                return self._file.read(size)
            except OSError as error:
                self.fault = error
        return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position and return it; one that no file can have, as damaged content may ask for, is the end."""
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            if error.errno != errno.EINVAL and self.fault is None:
                self.fault = error
            return self._file.seek(0, os.SEEK_END)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always: only regular files are read."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextlib.contextmanager
def source_file(path: str) -> Iterator[IO[bytes]]:
    """Open a file that is to be ingested, for a decoder.

    Raises:
        LeftForLater: it cannot be opened, or, on leaving, some of it could not be read. Whatever the decoder said then does not count.
        OSError: this machine has no room, memory or file handles left.
    """
    try:
        file = open(path, "rb", buffering=0)  # closed below; decoders have buffers of their own
    except OSError as error:
        raise LeftForLater(withheld(error, path)) from error
    source = SourceFile(cast(IO[bytes], file), path)
    try:
        yield cast(IO[bytes], source)
    finally:
        file.close()
        if source.fault is not None:
            raise LeftForLater(withheld(source.fault, path)) from source.fault
