"""The bytes of a shard's tar, made for many members at once: ustar headers, JSON members and where everything lies.

tarfile makes a header in some 20 microseconds, which is as long as copying and hashing the JPEG behind it.
"""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["BLOCK", "end_of_tar", "json_members", "padded", "text_blocks", "ustar_headers"]

BLOCK = tarfile.BLOCKSIZE
"""bytes of a header, and what content is padded to a multiple of"""

# A regular file that differs in name and size only, and says nothing about who wrote it or when.
_TEMPLATE = np.frombuffer(tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT), np.uint8)
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 135), slice(148, 154)
# the checksum field counts as eight spaces, and the template's own name and size not at all
_TEMPLATE_SUM = int(_TEMPLATE.sum()) - int(_TEMPLATE[148:156].sum()) + 8 * ord(" ") - int(_TEMPLATE[_SIZE].sum())


def ustar_headers(names: list[str], sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The 512 bytes that tarfile writes for regular files of these names (up to 100 ASCII bytes) and sizes (below 8 GiB).

    Returns:
        (files, 512) uint8.
    """
    headers = np.tile(_TEMPLATE, (len(names), 1))
    headers[:, _NAME] = np.array(names, "S100").view(np.uint8).reshape(len(names), 100)
    headers[:, _SIZE] = _octal(sizes, 11)
    sums = _TEMPLATE_SUM + headers[:, _NAME].sum(axis=1, dtype=np.int64) + headers[:, _SIZE].sum(axis=1, dtype=np.int64)
    headers[:, _CHECKSUM] = _octal(sums, 6)
    return headers


def _octal(values: NDArray[np.int64], num_digits: int) -> NDArray[np.uint8]:
    shifts = 3 * np.arange(num_digits - 1, -1, -1)
    return ((values[:, None] >> shifts & 7) + ord("0")).astype(np.uint8)


def padded(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes that contents of these sizes take up in a tar, without their headers."""
    return (sizes + BLOCK - 1) // BLOCK * BLOCK


def end_of_tar(num_bytes: int) -> bytes:
    """What ends a tar of so many bytes of members: two empty blocks, and as many more as fill a record of 20."""
    return bytes(2 * BLOCK + -(num_bytes + 2 * BLOCK) % tarfile.RECORDSIZE)


def text_blocks(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Texts as a tar holds them, each filled up with zeros.

    Returns:
        (blocks of all texts, 512) uint8, and each text's bytes.
    """
    sizes = pc.binary_length(texts).to_numpy().astype(np.int64)
    num_blocks = padded(sizes) // BLOCK
    most = int(num_blocks.max())
    wide = np.array(texts.cast(pa.binary()).to_pylist(), f"S{most * BLOCK}").view(np.uint8).reshape(len(texts), most, BLOCK)
    return wide[np.arange(most) < num_blocks[:, None]], sizes


def json_members(rows: pa.Table, *, extras: list[str] | None = None) -> pa.Array:
    """The content of each frame's `.json`: its ids, time, crop, size and clusters as compact JSON with sorted keys, a column at a time.

    Args:
        rows: frames with the columns of MEMBER_SCHEMA.
        extras: more of each frame's JSON object, or nothing: `"key":value,` with keys between `height` and `pts_us`.
    """

    def number(name: str) -> pa.Array:
        return pc.fill_null(pc.cast(rows[name].combine_chunks(), pa.string()), "null")

    def text(name: str) -> pa.Array:
        codes = rows[name].combine_chunks().dictionary_encode()  # of few different values: videos
        spelled = pa.array([json.dumps(value) for value in codes.dictionary.to_pylist()], pa.string())
        return pc.fill_null(spelled.take(codes.indices), "null")

    frame_ids = pc.binary_join_element_wise(
        '"', rows["frame_id"].combine_chunks(), '"', ""
    )  # plan_shards lets nothing by that JSON escapes
    clusters = pc.binary_join(pc.cast(rows["cluster_path"].combine_chunks(), pa.list_(pa.string())), ",")
    pieces = [
        *('{"cluster_path":', pc.coalesce(pc.binary_join_element_wise("[", clusters, "]", ""), "null")),
        *(',"crop":[', number("crop_x"), ",", number("crop_y"), ",", number("crop_width"), ",", number("crop_height")),
        *('],"frame_id":', frame_ids, ',"height":', number("height"), ","),
        *(pa.array(extras) if extras else "", '"pts_us":', number("pts_us")),
        *(',"video_id":', text("video_id"), ',"width":', number("width"), "}"),
    ]
    return pc.binary_join_element_wise(*pieces, "")
