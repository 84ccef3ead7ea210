"""Whether a file ends in the middle, or goes on after its end: read from its outer structure, which demuxers pass over in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from curation.sources import source_file

__all__ = ["file_problems"]

_MAX_BOXES = 1_000_000
_SYNC = 0x47
_TS_PACKETS = (188, 192, 204)
"""bytes of a transport packet: alone, with a time code before it (M2TS), with parity bytes after it"""
_NUM_SYNCS = 8
_NUM_LOOKS = 24
_PACKETS_A_LOOK = 6000
_LEAST_PICTURES = 3
_VIDEO_START = range(0xE0, 0xF0)
"""stream ids that the header of a piece of video (PES) bears"""


def file_problems(path: str, container: str, stream_id: int) -> list[str]:
    """Evidence in MP4 (boxes) and MPEG-TS (packets) that the file was cut short, or that more than one film was joined in it.

    Args:
        path: the file.
        container: FFmpeg's name of its format.
        stream_id: of the video stream that is read; in MPEG-TS the identifier of its packets.
    """
    with source_file(path) as file:
        num_bytes = file.seek(0, 2)
        if "mp4" in container.split(","):
            return _box_problems(file, num_bytes)
        if container == "mpegts":
            return _transport_problems(file, num_bytes, stream_id)
    return []


def _box_problems(file: IO[bytes], num_bytes: int) -> list[str]:
    """A box that is longer than the file, and a second movie after the first (ISO/IEC 14496-12)."""
    problems = []
    num_movies = 0
    for kind, start, end in _boxes(file, num_bytes):
        num_movies += kind == b"moov"
        if num_movies == 2:
            problems.append(f"a second film follows in the file, at the latest from byte {start}, and was not read")
            break
        if end > num_bytes:
            problems.append(f"the file was cut short: its last part lacks {end - num_bytes} bytes")
    return problems


def _boxes(file: IO[bytes], num_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of every box at the top; whatever is no box ends them."""
    place = 0
    for _ in range(_MAX_BOXES):
        file.seek(place)
        head = file.read(16)
        kind = head[4:8]
        if len(head) < 8 or not kind.isalnum():
            return
        size = int.from_bytes(head[:4])
        size = num_bytes - place if size == 0 else int.from_bytes(head[8:16]) if size == 1 else size
        if size < 8:
            return
        yield kind, place, place + size
        place += size


def _transport_problems(file: IO[bytes], num_bytes: int, stream_id: int) -> list[str]:
    """A last packet that is not whole (ISO/IEC 13818-1), in a file that consists of packets from its first byte on, and video left out."""
    for size in _TS_PACKETS:
        for first in (0, 4):
            file.seek(0)
            head = file.read(size * _NUM_SYNCS)
            syncs = head[first::size]
            if len(syncs) == _NUM_SYNCS and set(syncs) == {_SYNC}:
                rest = num_bytes % size
                file.seek(num_bytes - rest + first)
                is_packet = file.read(1) in (b"\x47", b"")
                problems = [f"the file was cut short: its last packet has {rest} of {size} bytes"] if rest and is_packet else []
                return problems + _other_video(file, num_bytes, stream_id, size=size, first=first)
    return []


def _other_video(file: IO[bytes], num_bytes: int, stream_id: int, *, size: int, first: int) -> list[str]:
    """Parts of a transport stream that hold video of other identifiers alone: a recorder that was started anew may change its own.

    Tracks side by side lie in the same parts: where three pictures of others lie and nothing of this one, it is not there. The file is
    looked at in places spread over it, each of at most some megabyte.
    """
    num_packets = num_bytes // size
    length = min(_PACKETS_A_LOOK, -(-num_packets // _NUM_LOOKS))
    without = 0
    for look in range(_NUM_LOOKS):
        file.seek(size * (look * (num_packets - length) // (_NUM_LOOKS - 1)))
        data = file.read(size * length)
        packets = [data[at : at + size] for at in range(first, len(data), size)]
        ids = {(packet[1] & 0x1F) << 8 | packet[2] for packet in packets if len(packet) > 2}
        without += stream_id not in ids and sum(map(_begins_video, packets)) >= _LEAST_PICTURES
    if not without:
        return []
    return [f"about {without / _NUM_LOOKS:.0%} of the file hold video under another identifier than {stream_id:#x}, which was not read"]


def _begins_video(packet: bytes) -> bool:
    """Whether a transport packet begins a piece of video."""
    if len(packet) < 12 or packet[0] != _SYNC or not packet[1] & 0x40 or not packet[3] & 0x10:
        return False
    start = 5 + packet[4] if packet[3] & 0x20 else 4
    return packet[start : start + 3] == b"\0\0\1" and len(packet) > start + 3 and packet[start + 3] in _VIDEO_START
