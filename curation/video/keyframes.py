"""Whether a packet that its container calls a keyframe is one, read from its first bytes.

Containers err: an MP4 without a table of keyframes calls every packet one, and H.264's periodic intra refresh counts as well, from which a
decoder only recovers bit by bit. Whoever begins to decode at such a packet gets wrong pixels, and some decoders say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["is_entry_point", "parameter_sets"]


def is_entry_point(codec: str, packet: bytes, extradata: bytes | None) -> bool:
    """Whether nothing shown after this packet is predicted from frames decoded before it, leading pictures of an open group apart.

    h264: its first slice is one of instantaneous refresh (ITU-T H.264, table 7-1); hevc: an intra random access picture (ITU-T H.265,
    table 7-1); mpeg4: its first picture is intra coded (ISO/IEC 14496-2, 6.2.5); vp9: a shown or hidden key frame (VP9 bitstream, 6.2).
    For other codecs, whose pictures all are (Motion JPEG), the container is believed.
    """
    if codec == "h264":
        kinds = (unit[0] & 31 for unit in _units(packet, extradata, 4))
        return next((kind == 5 for kind in kinds if 1 <= kind <= 5), False)
    if codec == "hevc":
        kinds = (unit[0] >> 1 & 63 for unit in _units(packet, extradata, 21))
        return next((16 <= kind <= 21 for kind in kinds if kind <= 31), False)
    if codec == "mpeg4":
        place = packet.find(b"\0\0\1\xb6") + 4
        return 4 <= place < len(packet) and packet[place] >> 6 == 0
    if codec == "vp9":
        flags = packet[0] if packet else 0xFF
        is_repeat, is_inter = (flags & 4, flags & 2) if flags >> 4 & 3 == 3 else (flags & 8, flags & 4)  # the third profile has a bit more
        return flags >> 6 == 2 and not is_repeat and not is_inter
    return True


def parameter_sets(codec: str, packet: bytes, extradata: bytes | None) -> Iterator[bytes]:
    """What a keyframe says of the size of its pictures, as far as the codec says it there; the same bytes while nothing changes.

    Sequence parameter sets of h264 and hevc (those of the header count as b"first"), the layer's header of mpeg4, width and height of
    vp8, vp9 and mjpeg.
    """
    if codec in ("h264", "hevc"):
        size_place = 4 if codec == "h264" else 21
        for unit in _units(packet, extradata, size_place):
            if (unit[0] & 31 == 7) if codec == "h264" else (unit[0] >> 1 & 63 == 33):
                yield b"first" if extradata and unit.rstrip(b"\0") in extradata else unit.rstrip(b"\0")
        if extradata:
            yield b"first"
    elif codec == "mpeg4":
        yield from (b"\0\0\1" + unit for unit in packet.split(b"\0\0\1")[1:] if unit and 0x20 <= unit[0] <= 0x2F)
    elif codec == "vp8":
        yield packet[3:10]
    elif codec == "vp9":
        yield (int.from_bytes(packet[1:9]) >> 4).to_bytes(8)
    elif codec == "mjpeg":
        place = max(packet.find(b"\xff\xc0"), packet.find(b"\xff\xc2"))
        yield packet[place + 5 : place + 9]


def _units(packet: bytes, extradata: bytes | None, size_place: int) -> Iterator[bytes]:
    """Every unit, which come with their length (ISO/IEC 14496-15: avcC, hvcC) or after start codes."""
    if extradata and extradata[0] == 1 and len(extradata) > size_place:
        size, place = (extradata[size_place] & 3) + 1, 0
        while place + size < len(packet):
            length = int.from_bytes(packet[place : place + size])
            yield packet[place + size : place + size + max(1, length)]
            place += size + length
    else:
        yield from (unit for unit in packet.split(b"\0\0\1")[1:] if unit)
