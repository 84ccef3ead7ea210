"""Frame packs: the kept frames of one video as one uncompressed tar, read by byte range.

A tar, because every tool opens it; uncompressed and with known offsets, because embedding and sharding copy single members without
unpacking. The bytes follow from the frames alone: no time, user or permission of the machine that wrote it is inside.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from warehouse.store import atomic_file

__all__ = ["HashingWriter", "PackEntry", "WrittenPack", "iter_pack", "read_frame", "write_pack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackEntry:
    """Where one frame's JPEG lies in its pack."""

    frame_id: str
    byte_offset: int
    byte_size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPack:
    """What `write_pack` wrote."""

    pack_id: str
    """SHA-256 of the tar"""
    num_bytes: int
    entries: tuple[PackEntry, ...]


class HashingWriter(io.RawIOBase):
    """Passes bytes on and hashes them on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self.num_bytes = 0
        self._file = file

    def writable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes so far."""
        return self.num_bytes

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Hash and pass on."""
        self.digest.update(data)
        self.num_bytes += len(data)
        return self._file.write(data)


def write_pack(path: Path, frames: Iterable[tuple[str, bytes]], *, is_private: bool = False, suffix: str = "jpg") -> WrittenPack:
    """Write (frame id, JPEG) pairs, in the order given, as `{frame_id}.jpg` members; atomically, `is_private` with mode 0600.

    A pack of clips has (clip id, MP4) pairs and another `suffix`.

    Raises:
        ValueError: a frame id has a dot or a slash (WebDataset splits names there) or is longer than a ustar name.
    """
    entries = []
    with atomic_file(path, is_private=is_private) as file:
        writer = HashingWriter(file)
        with tarfile.open(fileobj=writer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for frame_id, jpeg in frames:
                if "." in frame_id or "/" in frame_id or not 0 < len(frame_id) <= 90:
                    raise ValueError(f"frame id {frame_id!r} must have 1 to 90 characters and neither dots nor slashes; change the id")
                member = tarfile.TarInfo(f"{frame_id}.{suffix}")
                member.size = len(jpeg)
                byte_offset = writer.num_bytes + tarfile.BLOCKSIZE
                tar.addfile(member, io.BytesIO(jpeg))
                digest = hashlib.sha256(jpeg).hexdigest()
                entries.append(PackEntry(frame_id=frame_id, byte_offset=byte_offset, byte_size=len(jpeg), sha256=digest))
    return WrittenPack(pack_id=writer.digest.hexdigest(), num_bytes=writer.num_bytes, entries=tuple(entries))


def read_frame(pack_path: Path, byte_offset: int, byte_size: int) -> bytes:
    """One frame's JPEG.

    Raises:
        ValueError: the pack ends before the frame does.
    """
    with Path(pack_path).open("rb") as file:
        file.seek(byte_offset)
        jpeg = file.read(byte_size)
    if len(jpeg) != byte_size:
        raise ValueError(
            f"{pack_path} gave {len(jpeg)} bytes at {byte_offset}, expected {byte_size}; the pack is cut short, ingest its video again"
        )
    return jpeg


def iter_pack(pack_path: Path, *, start: int = 0) -> Iterator[tuple[str, bytes]]:
    """The (frame id, JPEG) pairs of a pack from frame `start` on, in time order, read once from front to back.

    Raises:
        ValueError: the pack ends before frame `start`.
    """
    with Path(pack_path).open("rb") as file:
        for passed in range(start):
            _pass_member(file, f"{pack_path} has {passed} frames before its end, expected more than {start}; ingest its video again")
        yield from _members(file)


def _pass_member(file: IO[bytes], too_short: str) -> None:
    """Past a member by its size alone, twelve octal digits in its header; with tarfile it would take many times as long."""
    header = file.read(tarfile.BLOCKSIZE)
    size = header[124:136].rstrip(b"\0 ")
    if not size:
        raise ValueError(too_short)
    file.seek(-(-int(size, 8) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, io.SEEK_CUR)


def _members(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:
                yield member.name.removesuffix(".jpg"), content.read()
