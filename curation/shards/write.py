"""WebDataset shards by byte copy: the JPEGs of chosen frames go from frame packs into tars as they are, unless smaller ones are asked for.

A dataset is a folder `shards/<name>` of tars, each with a sidecar Parquet of its frames; a `samples.parquet` that says where every frame
lies, a shard index, the cards, SHA256SUMS and `dataset.json`, written last (curation/shards/dataset_folder.py).
"""

from __future__ import annotations

import os
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.packs import HashingWriter, read_frame
from curation.shards.members import IMAGES, KINDS, MemberKind
from curation.shards.plan import Reencode, ShardPlan
from warehouse.records import Shard
from warehouse.store import atomic_file, file_sha256, read_json, write_json, write_parquet

__all__ = ["SIDECAR_SCHEMA", "sidecar_name", "write_shard"]

SIDECAR_SCHEMA = IMAGES.sidecar_schema
"""What a sidecar says of a shard's frames; byte_offset and byte_size are those of the JPEG in the tar."""


def sidecar_name(shard: str) -> str:
    """The file name of a tar's sidecar."""
    return f"{shard.removesuffix('.tar')}.parquet"


def write_shard(plan: ShardPlan, *, lake_root: str) -> Shard:
    """Write one tar: for each frame `{frame_id}.jpg`, copied from its pack, and `{frame_id}.json`; for each clip `{clip_id}.mp4`.

    The same plan gives the same bytes. Writes shards/<dataset>/<shard>, its sidecar and, last, evidence of both in the staging folder;
    where all are there and whole, nothing is written.

    Raises:
        ValueError: a pack does not hold a JPEG or MP4 where the plan says, or one that is to be made smaller cannot be decoded.
        FileNotFoundError: a pack is missing.
    """
    root, kind = Path(lake_root), KINDS[plan.kind]
    path = f"shards/{plan.dataset}/{plan.shard}"
    sidecar = root / f"shards/{plan.dataset}/{sidecar_name(plan.shard)}"
    evidence = (root / plan.members_path).with_suffix(".json")
    if found := _written_before(evidence, root / path, sidecar):
        return found
    rows = pq.read_table(root / plan.members_path, use_threads=False).to_pylist()
    with atomic_file(root / path) as file:
        if not plan.reencode:  # halves the time of writing, and a full disk says so now
            os.posix_fallocate(file.fileno(), 0, sum(row["byte_size"] for row in rows))
        writer = HashingWriter(file)
        for position, row in enumerate(rows, start=plan.first_position):
            content, name = _content(root, row, kind), row[kind.id_column]
            if plan.reencode and max(row["width"], row["height"]) > plan.reencode.max_side:
                content = _make_smaller(row, content, plan.reencode)
            row |= {"position": position, "byte_offset": writer.num_bytes + tarfile.BLOCKSIZE, "byte_size": len(content)}
            writer.write(_member(f"{name}.{kind.suffix}", content) + _member(f"{name}.json", kind.text(row)))
        writer.write(_end(writer.num_bytes))
    write_parquet(sidecar, pa.Table.from_pylist(rows, schema=kind.sidecar_schema), durable=False)
    sha256 = writer.digest.hexdigest()
    shard = Shard(name=plan.shard, path=path, sha256=sha256, num_bytes=writer.num_bytes, num_images=plan.num_images)
    write_json(evidence, {"shard": asdict(shard), "sidecar_sha256": file_sha256(sidecar)}, durable=False)
    return shard


def _written_before(evidence: Path, tar: Path, sidecar: Path) -> Shard | None:
    """The shard of this plan that is there already, whole."""
    if not (evidence.exists() and tar.exists() and sidecar.exists()):
        return None
    try:
        said = read_json(evidence)
        shard = Shard(**said["shard"])
    except (ValueError, KeyError):  # a power cut left it empty
        return None
    is_whole = (file_sha256(tar), file_sha256(sidecar)) == (shard.sha256, said.get("sidecar_sha256"))
    return shard if is_whole else None


def _content(root: Path, row: dict[str, Any], kind: MemberKind) -> bytes:
    place = row["pack_path"], row["byte_offset"], row["byte_size"]
    content = read_frame(root / place[0], *place[1:])
    if not kind.is_content(content):
        raise ValueError(
            f"{kind.pack} {place[0]!r} holds no {kind.media} of {place[2]} bytes at byte {place[1]} "
            f"for {kind.item} {row[kind.id_column]}; {kind.remedy}"
        )
    return content


def _make_smaller(row: dict[str, Any], jpeg: bytes, reencode: Reencode) -> bytes:
    """Encode an image anew, smaller, and put into its row what its JSON says of that.

    A JPEG that OpenCV writes has pixels and nothing else in it.
    """
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"the JPEG of frame {row['frame_id']} cannot be decoded, so it cannot be made smaller; ingest its video again")
    before = row["width"], row["height"]
    scale = reencode.max_side / max(before)
    width, height = (max(1, round(side * scale)) for side in before)
    smaller = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    row |= {"width": width, "height": height, "jpeg_quality": reencode.quality, "original_size": before}
    return cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, reencode.quality])[1].tobytes()


def _member(name: str, content: bytes) -> bytes:
    """A member of a tar that says nothing about who wrote it or when.

    `TarFile.addfile` gives the same bytes, and copies each member's record and content on the way.
    """
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return b"".join((member.tobuf(tarfile.USTAR_FORMAT), content, bytes(-len(content) % tarfile.BLOCKSIZE)))


def _end(num_bytes: int) -> bytes:
    """What closes a tar of so many bytes: two empty blocks, filled up to a whole record."""
    blocks = 2 * tarfile.BLOCKSIZE
    return bytes(blocks + -(num_bytes + blocks) % tarfile.RECORDSIZE)
