"""Whether a packet that its container calls a keyframe is one, read from its first bytes.

Containers err: an MP4 without a table of keyframes calls every packet one, and H.264's periodic intra refresh counts as well, from which a
decoder only recovers bit by bit. Whoever begins to decode at such a packet gets wrong pixels, and some decoders say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["is_entry_point"]


def is_entry_point(codec: str, packet: bytes, extradata: bytes | None) -> bool:
    """Whether nothing shown after this packet is predicted from frames decoded before it, leading pictures of an open group apart.

    h264: its first slice is one of instantaneous refresh (ITU-T H.264, table 7-1); hevc: an intra random access picture (ITU-T H.265,
    table 7-1); mpeg4: its first picture is intra coded (ISO/IEC 14496-2, 6.2.5); vp9: a shown or hidden key frame (VP9 bitstream, 6.2).
    For other codecs, whose pictures all are (Motion JPEG), the container is believed.
    """
    if codec == "h264":
        return next((kind == 5 for kind in (head & 31 for head in _units(packet, extradata, 4)) if 1 <= kind <= 5), False)
    if codec == "hevc":
        return next((16 <= kind <= 21 for kind in (head >> 1 & 63 for head in _units(packet, extradata, 21)) if kind <= 31), False)
    if codec == "mpeg4":
        place = packet.find(b"\0\0\1\xb6") + 4
        return 4 <= place < len(packet) and packet[place] >> 6 == 0
    if codec == "vp9":
        flags = packet[0] if packet else 0xFF
        is_repeat, is_inter = (flags & 4, flags & 2) if flags >> 4 & 3 == 3 else (flags & 8, flags & 4)  # the third profile has a bit more
        return flags >> 6 == 2 and not is_repeat and not is_inter
    return True


def _units(packet: bytes, extradata: bytes | None, size_place: int) -> Iterator[int]:
    """The first byte of every unit, which come with their length (ISO/IEC 14496-15: avcC, hvcC) or after start codes."""
    if extradata and extradata[0] == 1 and len(extradata) > size_place:
        size, place = (extradata[size_place] & 3) + 1, 0
        while place + size < len(packet):
            yield packet[place + size]
            place += size + int.from_bytes(packet[place : place + size])
    else:
        yield from (unit[0] for unit in packet.split(b"\0\0\1")[1:] if unit)
