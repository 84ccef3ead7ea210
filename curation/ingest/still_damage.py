"""Damage in still images that decoders pass over in silence: they fill in what is missing, and the picture is torn."""

from __future__ import annotations

import zlib

import simplejpeg

__all__ = ["damage_in"]

_WARNINGS = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression")
"""how libjpeg's warnings about the coded picture begin; others are about what it cannot convert"""
_PNG = b"\x89PNG\r\n\x1a\n"


def damage_in(content: bytes) -> str | None:
    """What is damaged in the content of an image file, in the words of its decoder; None if nothing is found.

    JPEG: whatever libjpeg warns of, such as Huffman codes that do not exist, and data left over or missing at the end. A flipped bit that
    leaves the codes in step changes the picture and cannot be told. PNG: the check sum of every chunk. WebP: the length of the file. No
    other format holds evidence.
    """
    if content.startswith(b"\xff\xd8"):
        return _jpeg_damage(content)
    if content.startswith(_PNG):
        return _png_damage(content)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        declared = 8 + int.from_bytes(content[4:8], "little")
        return f"{declared - len(content)} bytes are missing" if declared > len(content) else None
    return None


def _jpeg_damage(content: bytes) -> str | None:
    try:
        space = simplejpeg.decode_jpeg_header(content)[2]
        simplejpeg.decode_jpeg(content, colorspace="CMYK" if space in ("CMYK", "YCCK") else "GRAY", strict=True)
    except ValueError as error:
        if str(error).startswith(_WARNINGS):
            return str(error)
    return None


def _png_damage(content: bytes) -> str | None:
    place = len(_PNG)
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4])
        kind = content[place + 4 : place + 8]
        if zlib.crc32(content[place + 4 : end]) != int.from_bytes(content[end : end + 4]):
            return f"check sum of the chunk {kind.decode('latin-1')!r} is wrong"
        if kind == b"IEND":
            return None
        place = end + 4
    return "the end of the file is missing"
