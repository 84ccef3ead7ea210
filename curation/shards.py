"""WebDataset shards by byte copy: the JPEGs of chosen frames go from frame packs into tars as they are, never decoded.

A dataset is a folder `shards/<name>` of tars, each with the evidence of its hash beside it, a `samples.parquet` that says where every frame
lies, a shard index, and `dataset.json`, written last. Members carry where a frame comes from as ids and pixels, never a path.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.records import Dataset, Shard
from warehouse.store import atomic_file, content_id, read_json, write_json, write_parquet

__all__ = ["MEMBER_SCHEMA", "SAMPLES_SCHEMA", "SHARD_VERSION", "ShardPlan", "check_name", "finish_dataset", "plan_shards", "write_shard"]

SHARD_VERSION = 1

MEMBER_SCHEMA = pa.schema(
    {
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
)
"""The frames of a dataset as `plan_shards` takes them."""

SAMPLES_SCHEMA = pa.schema(
    {
        "position": pa.int64(),  # in the order of the shards and of the members within
        "shard": pa.string(),
        "frame_id": pa.string(),
        "video_id": pa.string(),
        "byte_offset": pa.int64(),  # of the JPEG's first byte in its tar
        "byte_size": pa.int64(),
    }
)

_BLOCK = tarfile.BLOCKSIZE
_FLUSH_BYTES = 4 << 20
_JPEG_START = b"\xff\xd8"
_to_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """One tar to be written; its members are in a staged Parquet file, so that a plan stays small."""

    dataset: str
    plan_id: str
    """SHA-256 over the members of all shards of the dataset, in order"""
    shard: str
    """file name of the tar"""
    members_path: str
    members_sha256: str
    """SHA-256 over what the members' rows say"""
    num_images: int


def check_name(name: str) -> None:
    """Refuse a dataset name that cannot be part of every file name on every system.

    Raises:
        ValueError: the name is not 1 to 80 letters, digits, dots, hyphens and underscores that start with a letter or digit.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", name):
        raise ValueError(
            f"dataset name {name!r} cannot be part of a file name; use up to 80 letters, digits, dots, hyphens and underscores, "
            "a letter or digit first"
        )


def plan_shards(
    members: pa.Table, *, name: str, images_per_shard: int, min_shards: int, seed: int, lake_root: str
) -> tuple[ShardPlan, ...]:
    """Deal frames into shards of equal size (or one apart), in an order shuffled over all of them, and stage each shard's rows.

    The same frames and seed give the same plans whatever order the frames come in. Twice the table is in memory: about 6 GB for ten
    million frames.

    Args:
        members: the frames, with the columns of `MEMBER_SCHEMA`.
        name: the dataset's name, a part of every file name.
        images_per_shard: most images in a tar.
        min_shards: fewest tars (as many as there are images, where that is fewer), so that every reader gets one.
        seed: of the shuffle.
        lake_root: the lake's folder; rows are staged in staging/shards/<plan>/.

    Raises:
        ValueError: there are no frames, one comes twice or cannot be a file name, the name is not one, or is taken by other content.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", name):
        raise ValueError(
            f"dataset name {name!r} cannot be part of a file name; use up to 80 letters, digits, dots, hyphens and underscores"
        )
    table = members.select(MEMBER_SCHEMA.names).cast(MEMBER_SCHEMA).combine_chunks().sort_by("frame_id")
    if table.num_rows == 0:
        raise ValueError(f"dataset {name!r} would hold no frame; choose at least one")
    _check_frame_ids(table["frame_id"])
    root = Path(lake_root)
    num_shards = max(min(min_shards, table.num_rows), -(-table.num_rows // images_per_shard))
    order = np.random.default_rng(seed).permutation(table.num_rows)
    parts = [table.take(pa.array(rows)) for rows in np.array_split(order, num_shards)]
    digests = [_rows_sha256(part) for part in parts]
    plan_id = content_id({"version": SHARD_VERSION, "name": name, "shards": digests})
    _check_name_is_free(root, name, plan_id)
    plans = []
    for index, (part, digest) in enumerate(zip(parts, digests, strict=True)):
        shard = f"{name}-{index:06d}.tar"
        path = f"staging/shards/{plan_id[:16]}/{shard}.parquet"
        if not (root / path).exists():
            write_parquet(root / path, part)
        plans.append(
            ShardPlan(dataset=name, plan_id=plan_id, shard=shard, members_path=path, members_sha256=digest, num_images=part.num_rows)
        )
    return tuple(plans)


def write_shard(plan: ShardPlan, *, lake_root: str) -> Shard:
    """Write one tar: for each frame `{frame_id}.jpg`, copied from its pack, and `{frame_id}.json`.

    The same plan gives the same bytes. Writes shards/<dataset>/<shard> and, last, <shard>.sha256.json; where both are there for
    this plan, nothing is written.

    Raises:
        ValueError: a pack does not hold a JPEG where the plan says.
        FileNotFoundError: a pack is missing.
    """
    root = Path(lake_root)
    path = f"shards/{plan.dataset}/{plan.shard}"
    evidence_path = root / f"{path}.sha256.json"
    if evidence_path.exists() and (root / path).exists():
        evidence = read_json(evidence_path)
        if evidence["members_sha256"] == plan.members_sha256 and evidence["shard"]["num_bytes"] == (root / path).stat().st_size:
            return Shard(**evidence["shard"])

    rows = pq.read_table(root / plan.members_path)
    offsets: list[int] = []
    digest = hashlib.sha256()
    num_bytes = 0
    pending: list[bytes] = []
    with atomic_file(root / path) as file:

        def put(*chunks: bytes) -> None:
            nonlocal num_bytes
            pending.extend(chunks)
            num_bytes += sum(map(len, chunks))

        def flush() -> None:
            data = b"".join(pending)
            pending.clear()
            digest.update(data)
            file.write(data)

        flushed = 0
        for row in rows.to_pylist():
            jpeg = _read_jpeg(lake_root, row)
            offsets.append(num_bytes + _BLOCK)
            put(*_member(f"{row['frame_id']}.jpg", jpeg))
            put(*_member(f"{row['frame_id']}.json", _metadata(row)))
            if num_bytes - flushed >= _FLUSH_BYTES:
                flush()
                flushed = num_bytes
        end = num_bytes + 2 * _BLOCK
        put(bytes(2 * _BLOCK + -end % tarfile.RECORDSIZE))
        flush()
    shard = Shard(name=plan.shard, path=path, sha256=digest.hexdigest(), num_bytes=num_bytes, num_images=plan.num_images)
    write_json(evidence_path, {"members_sha256": plan.members_sha256, "shard": asdict(shard), "byte_offsets": offsets})
    return shard


def finish_dataset(plans: Sequence[ShardPlan], shards: Sequence[Shard], *, selection_id: str, lake_root: str) -> Dataset:
    """Close a dataset whose shards are all written: `samples.parquet`, the shard index and, last, `dataset.json`.

    The dataset's id is the SHA-256 over its shards' hashes in order. Tars of an earlier plan that never got this far are removed.

    Raises:
        ValueError: shards and plans do not match, or the name was taken by other content in the meantime.
    """
    name, plan_id = plans[0].dataset, plans[0].plan_id
    root = Path(lake_root)
    folder = root / "shards" / name
    if [plan.shard for plan in plans] != [shard.name for shard in shards]:
        raise ValueError(
            f"dataset {name!r} has {len(plans)} planned shards and {len(shards)} written ones, or in another order; write all of them"
        )
    _check_name_is_free(root, name, plan_id)
    dataset_id = hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest()
    if (folder / "dataset.json").exists():
        selection_id = read_json(folder / "dataset.json")["selection_id"]
    dataset = Dataset(
        dataset_id=dataset_id,
        name=name,
        path=f"shards/{name}",
        selection_id=selection_id,
        num_images=sum(shard.num_images for shard in shards),
        shards=tuple(shards),
    )
    _remove_stale(folder, name, {shard.name for shard in shards})
    with atomic_file(folder / "samples.parquet") as file, pq.ParquetWriter(file, SAMPLES_SCHEMA, compression="zstd") as writer:
        position = 0
        for plan in plans:
            rows = pq.read_table(root / plan.members_path, columns=["frame_id", "video_id", "byte_size"])
            columns = {
                "position": pa.array(np.arange(position, position + rows.num_rows)),
                "shard": pa.repeat(plan.shard, rows.num_rows),
                "byte_offset": pa.array(read_json(folder / f"{plan.shard}.sha256.json")["byte_offsets"], pa.int64()),
                **{column: rows[column] for column in rows.column_names},
            }
            writer.write_table(pa.table(columns, schema=SAMPLES_SCHEMA))
            position += rows.num_rows
    write_json(folder / "index.json", _shard_index(name, shards))
    write_json(folder / "dataset.json", {**asdict(dataset), "plan_id": plan_id, "num_shards": len(shards), "version": SHARD_VERSION})
    return dataset


def _check_frame_ids(frame_ids: pa.ChunkedArray) -> None:
    num_unique = pc.count_distinct(frame_ids).as_py()
    if num_unique != len(frame_ids):
        raise ValueError(f"{len(frame_ids) - num_unique} frames come twice in the members; give each frame once")
    bad = frame_ids.filter(pc.invert(pc.match_substring_regex(frame_ids, r"^[A-Za-z0-9_-]{1,95}$")))
    if len(bad):
        raise ValueError(f"frame id {bad[0].as_py()!r} cannot name a tar member; ids are up to 95 letters, digits, hyphens and underscores")


def _check_name_is_free(root: Path, name: str, plan_id: str) -> None:
    """A finished dataset never changes; an unfinished one may be replaced."""
    finished = root / "shards" / name / "dataset.json"
    if finished.exists() and read_json(finished)["plan_id"] != plan_id:
        raise ValueError(
            f"dataset name {name!r} is taken by a dataset with other content, and datasets never change; choose another --name"
        )


def _rows_sha256(part: pa.Table) -> str:
    """SHA-256 over the rows' values, free of how Arrow or Parquet lay them out."""
    digest = hashlib.sha256()
    for column in part.column_names:
        digest.update(json.dumps([column, part[column].to_pylist()], separators=(",", ":")).encode())
    return digest.hexdigest()


def _read_jpeg(lake_root: str, row: dict[str, Any]) -> bytes:
    descriptor = os.open(os.path.join(lake_root, row["pack_path"]), os.O_RDONLY)
    try:
        jpeg = os.pread(descriptor, row["byte_size"], row["byte_offset"])
    finally:
        os.close(descriptor)
    if len(jpeg) != row["byte_size"] or not jpeg.startswith(_JPEG_START):
        raise ValueError(
            f"frame pack {row['pack_path']!r} holds no JPEG of {row['byte_size']} bytes at byte {row['byte_offset']} "
            f"for frame {row['frame_id']}; the pack was changed after ingest, so ingest its video again"
        )
    return jpeg


def _metadata(row: dict[str, Any]) -> bytes:
    metadata = {
        "frame_id": row["frame_id"],
        "video_id": row["video_id"],
        "pts_us": row["pts_us"],
        "crop": [row["crop_x"], row["crop_y"], row["crop_width"], row["crop_height"]],
        "width": row["width"],
        "height": row["height"],
        "cluster_path": row["cluster_path"],
    }
    return _to_json(metadata).encode()


def _member(name: str, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Header, content and padding of a tar member that says nothing about who wrote it or when."""
    return _ustar_header(name, len(data)), data, bytes(-len(data) % _BLOCK)


# A member that differs in name and size only: tarfile makes its header some twenty times slower, half the time of writing a shard.
_TEMPLATE = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 135), slice(148, 154)
_TEMPLATE_SUM = sum(_TEMPLATE[: _CHECKSUM.start]) + 8 * ord(" ") + sum(_TEMPLATE[156:])  # the checksum field counts as eight spaces


def _ustar_header(name: str, size: int) -> bytes:
    """The 512 bytes that tarfile writes for a regular file of this name (up to 100 ASCII bytes) and size (below 8 GiB)."""
    name_field, size_field = name.encode("ascii"), b"%011o" % size
    checksum = _TEMPLATE_SUM + sum(name_field) + sum(size_field) - sum(_TEMPLATE[_SIZE])
    header = bytearray(_TEMPLATE)
    header[_NAME], header[_SIZE], header[_CHECKSUM] = name_field.ljust(100, b"\0"), size_field, b"%06o" % checksum
    return bytes(header)


def _shard_index(name: str, shards: Sequence[Shard]) -> dict[str, Any]:
    """The index of wids, webdataset's random-access reader."""
    return {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": name,
        "shardlist": [{"url": shard.name, "nsamples": shard.num_images, "filesize": shard.num_bytes} for shard in shards],
    }


def _remove_stale(folder: Path, name: str, current: set[str]) -> None:
    for file in folder.glob(f"{name}-*.tar*"):
        shard = re.fullmatch(rf"({re.escape(name)}-\d{{6}}\.tar)(\.sha256\.json)?", file.name)
        if shard and shard[1] not in current:
            file.unlink()
