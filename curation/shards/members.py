"""What a dataset's tars may hold: images of frames, or clips. Each kind says how its members are called, described and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from warehouse.store import canonical_json

__all__ = ["CLIPS", "CLIP_SCHEMA", "IMAGES", "KINDS", "MEMBER_SCHEMA", "MemberKind", "clip_json", "member_json"]

_CONTENT = {
    "frame_id": pa.string(),
    "video_id": pa.string(),
    "pack_path": pa.string(),  # relative to the lake's root
    "byte_offset": pa.int64(),
    "byte_size": pa.int64(),
    "pts_us": pa.int64(),
    "crop_x": pa.int32(),
    "crop_y": pa.int32(),
    "crop_width": pa.int32(),
    "crop_height": pa.int32(),
    "width": pa.int32(),
    "height": pa.int32(),
    "cluster_path": pa.list_(pa.int32()),  # finest level first
}
_SCORES = {
    **dict.fromkeys(("blur", "luma", "dark_share", "bright_share", "specular_share", "bubble_share", "stool_share"), pa.float32()),
    **dict.fromkeys(("motion", "out_of_body", "text_share"), pa.float32()),
    "phash": pa.string(),
}
_CLIP_CONTENT = {
    "clip_id": pa.string(),
    "video_id": pa.string(),
    "pack_path": pa.string(),  # relative to the lake's root
    "byte_offset": pa.int64(),
    "byte_size": pa.int64(),
    "start_us": pa.int64(),  # presentation time of the first source frame since the video's first
    "end_us": pa.int64(),  # of the last
    "fps": pa.float64(),
    "num_frames": pa.int32(),
    "width": pa.int32(),
    "height": pa.int32(),
    "patient": pa.string(),  # pseudonym; empty where it is not known
    "cluster_path": pa.list_(pa.int32()),  # finest level first
}

MEMBER_SCHEMA = pa.schema({**_CONTENT, **_SCORES})
"""The frames of a dataset as `plan_shards` takes them; the scores go into the sidecars only and may be null."""

CLIP_SCHEMA = pa.schema(_CLIP_CONTENT)
"""The same of a dataset of clips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberKind:
    """One kind of dataset."""

    name: str
    """name of the kind in `dataset.json`"""
    item: str
    """one of them in a sentence"""
    id_column: str
    suffix: str
    """ending of the member beside the `.json`"""
    schema: pa.Schema
    """columns of the members"""
    content: tuple[str, ...]
    """columns that a plan's id follows from"""
    text: Callable[[dict[str, Any]], bytes]
    """content of the `.json`"""
    is_content: Callable[[bytes], bool]
    """whether bytes begin as such a file does"""
    media: str
    """format of the file, in a sentence"""
    pack: str
    """what its bytes are copied from, in a sentence"""
    remedy: str
    """what to do if that does not hold such a file"""
    time_column: str
    """column of the sidecar that tells the time, to compare with the lake"""
    added: tuple[str, ...] = ()
    """keys that writing may add to the `.json`"""

    @property
    def sidecar_schema(self) -> pa.Schema:
        """Columns of a sidecar; byte_offset and byte_size are places in the tar."""
        return pa.schema([pa.field("position", pa.int64()), *(field for field in self.schema if field.name != "pack_path")])

    @property
    def samples_schema(self) -> pa.Schema:
        """Columns of `samples.parquet`; position is in the order of the shards and of the members within, byte_offset that in the tar."""
        columns = {"position": pa.int64(), "shard": pa.string(), self.id_column: pa.string(), "video_id": pa.string()}
        return pa.schema({**columns, "byte_offset": pa.int64(), "byte_size": pa.int64()})


def member_json(row: dict[str, Any]) -> bytes:
    """The content of a frame's `.json`: its ids, time, crop, size and clusters, and what was made smaller."""
    said = {name: row[name] for name in ("frame_id", "video_id", "pts_us", "width", "height", "cluster_path")}
    said["crop"] = [row[f"crop_{side}"] for side in ("x", "y", "width", "height")]
    said |= {name: row[name] for name in ("jpeg_quality", "original_size") if name in row}
    return canonical_json(said).encode()


def clip_json(row: dict[str, Any]) -> bytes:
    """The content of a clip's `.json`: ids, times in the source video in seconds, rate, frames, size.

    `group` is what a batch must not hold twice: the video.
    """
    said = {name: row[name] for name in ("clip_id", "video_id", "fps", "num_frames", "width", "height", "cluster_path")}
    said |= {"patient": row["patient"] or "", "group": row["video_id"], "start_s": row["start_us"] / 1e6, "end_s": row["end_us"] / 1e6}
    return canonical_json(said).encode()


IMAGES = MemberKind(
    name="images",
    item="frame",
    id_column="frame_id",
    suffix="jpg",
    schema=MEMBER_SCHEMA,
    content=tuple(_CONTENT),
    text=member_json,
    is_content=lambda data: data.startswith(b"\xff\xd8"),
    media="JPEG",
    pack="frame pack",
    remedy="the pack was changed after ingest, so ingest its video again",
    time_column="pts_us",
    added=("jpeg_quality", "original_size"),
)

CLIPS = MemberKind(
    name="clips",
    item="clip",
    id_column="clip_id",
    suffix="mp4",
    schema=CLIP_SCHEMA,
    content=tuple(_CLIP_CONTENT),
    text=clip_json,
    is_content=lambda data: data[4:8] == b"ftyp",
    media="MP4",
    pack="clip pack",
    remedy="the pack was changed after it was written; remove it, and curate again to cut its clips anew",
    time_column="start_us",
)

KINDS = {kind.name: kind for kind in (IMAGES, CLIPS)}
