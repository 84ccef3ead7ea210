"""WebDataset shards by byte copy: the JPEGs of chosen frames go from frame packs into tars as they are, unless smaller ones are asked for.

A dataset is a folder `shards/<name>` of tars, each with a sidecar Parquet of its frames and the evidence of its hash beside it; a
`samples.parquet` that says where every frame lies, a shard index, the cards, SHA256SUMS and `dataset.json`, written last
(curation/dataset_folder.py).
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curation.shard_plan import MEMBER_SCHEMA, Reencode, ShardPlan
from curation.shard_tar import BLOCK, end_of_tar, json_members, padded, ustar_headers
from warehouse.records import Shard
from warehouse.store import atomic_file, file_sha256, read_json, write_json, write_parquet

__all__ = ["SIDECAR_SCHEMA", "sidecar_name", "write_shard"]

SIDECAR_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64()),  # in the order of the shards and of the members within
        *(field for field in MEMBER_SCHEMA if field.name != "pack_path"),
    ]
)
"""What a sidecar says of a shard's frames; byte_offset and byte_size are those of the JPEG in the tar."""

_CHUNK_BYTES = 2 << 20  # written and hashed at once: fits the caches, and is much longer than a call takes
_JPEG_START = b"\xff\xd8"
_MAX_OPEN_PACKS = 128


def sidecar_name(shard: str) -> str:
    """The file name of a tar's sidecar."""
    return f"{shard.removesuffix('.tar')}.parquet"


def write_shard(plan: ShardPlan, *, lake_root: str) -> Shard:
    """Write one tar: for each frame `{frame_id}.jpg`, copied from its pack, and `{frame_id}.json`.

    The same plan gives the same bytes. Writes shards/<dataset>/<shard>, its sidecar and, last, <shard>.sha256.json; where all are there
    for this plan, nothing is written. A thread beside this one hashes what this one reads and writes.

    Raises:
        ValueError: a pack does not hold a JPEG where the plan says, or one that is to be made smaller cannot be decoded.
        FileNotFoundError: a pack is missing.
    """
    root = Path(lake_root)
    path = f"shards/{plan.dataset}/{plan.shard}"
    sidecar = root / f"shards/{plan.dataset}/{sidecar_name(plan.shard)}"
    evidence_path = root / f"{path}.sha256.json"
    if evidence_path.exists() and (root / path).exists() and sidecar.exists():
        evidence = read_json(evidence_path)
        whole = evidence["members_sha256"] == plan.members_sha256 and evidence["shard"]["num_bytes"] == (root / path).stat().st_size
        if whole and evidence.get("sidecar_sha256") == file_sha256(sidecar):
            return Shard(**evidence["shard"])

    rows = pq.read_table(root / plan.members_path)
    digest = hashlib.sha256()
    num_bytes = 0
    offsets: list[NDArray[np.int64]] = []
    stored: list[pa.Table] = []
    with atomic_file(root / path) as file, ThreadPoolExecutor(1) as beside:
        hashed: Future[None] | None = None
        for part in _chunks(rows):
            buffer, places, part = _member_bytes(part, lake_root, plan.reencode)
            offsets.append(places + num_bytes)
            stored.append(part)
            num_bytes += len(buffer)
            if hashed:
                hashed.result()
            hashed = beside.submit(digest.update, buffer)
            file.write(buffer)
        if hashed:
            hashed.result()
        end = end_of_tar(num_bytes)
        digest.update(end)
        file.write(end)
        num_bytes += len(end)
    table = pa.concat_tables(stored)
    columns = {name: table[name] for name in SIDECAR_SCHEMA.names if name in table.column_names}
    columns["position"] = pa.array(np.arange(plan.first_position, plan.first_position + plan.num_images))
    columns["byte_offset"] = pa.array(np.concatenate(offsets))
    write_parquet(sidecar, pa.table({name: columns[name] for name in SIDECAR_SCHEMA.names}, schema=SIDECAR_SCHEMA))
    shard = Shard(name=plan.shard, path=path, sha256=digest.hexdigest(), num_bytes=num_bytes, num_images=plan.num_images)
    write_json(evidence_path, {"members_sha256": plan.members_sha256, "shard": asdict(shard), "sidecar_sha256": file_sha256(sidecar)})
    return shard


def _chunks(rows: pa.Table) -> Iterator[pa.Table]:
    """Runs of rows whose images make about _CHUNK_BYTES."""
    part_of_row = np.cumsum(rows["byte_size"].to_numpy()) // _CHUNK_BYTES
    starts = np.flatnonzero(np.diff(part_of_row, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], rows.num_rows], strict=True):
        yield rows.slice(int(start), int(stop - start))


def _member_bytes(rows: pa.Table, lake_root: str, reencode: Reencode | None) -> tuple[memoryview, NDArray[np.int64], pa.Table]:
    """The tar's bytes for these frames, where in them each JPEG starts, and the rows with the sizes of the images as they are stored."""
    jpegs: list[bytes] | None = None
    extras: list[str] = [""] * rows.num_rows
    if reencode:
        rows, jpegs, extras = _made_smaller(rows, lake_root, reencode)
    texts = [
        text.encode()
        for text in (
            json_members(rows).to_pylist()
            if not any(extras)
            else [json_members(rows.slice(row, 1), extra=extra)[0].as_py() for row, extra in enumerate(extras)]
        )
    ]
    frame_ids = rows["frame_id"].to_pylist()
    image_sizes = rows["byte_size"].to_numpy()
    text_sizes = np.array([len(text) for text in texts])
    image_headers = ustar_headers([f"{frame_id}.jpg" for frame_id in frame_ids], image_sizes)
    text_headers = ustar_headers([f"{frame_id}.json" for frame_id in frame_ids], text_sizes)
    lengths = 2 * BLOCK + padded(image_sizes) + padded(text_sizes)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    buffer = np.zeros(starts[-1], np.uint8)
    view = memoryview(buffer.data)
    text_starts = starts[:-1] + BLOCK + padded(image_sizes)
    buffer[starts[:-1, None] + np.arange(BLOCK)] = image_headers
    buffer[text_starts[:, None] + np.arange(BLOCK)] = text_headers
    for start, text in zip(text_starts.tolist(), texts, strict=True):
        view[start + BLOCK : start + BLOCK + len(text)] = text
    places = starts[:-1] + BLOCK
    if jpegs is None:
        _read_jpegs(
            rows, lake_root, [view[start : start + size] for start, size in zip(places.tolist(), image_sizes.tolist(), strict=True)]
        )
    else:
        for start, jpeg in zip(places.tolist(), jpegs, strict=True):
            view[start : start + len(jpeg)] = jpeg
    return view, places, rows


def _read_jpegs(rows: pa.Table, lake_root: str, targets: list[memoryview]) -> None:
    """Read each frame's JPEG out of its pack into its place."""
    packs: OrderedDict[str, int] = OrderedDict()
    places = zip(rows["pack_path"].to_pylist(), rows["byte_offset"].to_pylist(), targets, strict=True)
    try:
        for row, (pack_path, byte_offset, target) in enumerate(places):
            if pack_path not in packs:
                packs[pack_path] = os.open(os.path.join(lake_root, pack_path), os.O_RDONLY)
                if len(packs) > _MAX_OPEN_PACKS:
                    os.close(packs.popitem(last=False)[1])
            if os.preadv(packs[pack_path], [target], byte_offset) != len(target) or target[:2] != _JPEG_START:
                raise ValueError(
                    f"frame pack {pack_path!r} holds no JPEG of {len(target)} bytes at byte {byte_offset} "
                    f"for frame {rows['frame_id'][row]}; the pack was changed after ingest, so ingest its video again"
                )
    finally:
        for descriptor in packs.values():
            os.close(descriptor)


def _made_smaller(rows: pa.Table, lake_root: str, reencode: Reencode) -> tuple[pa.Table, list[bytes], list[str]]:
    """The rows with the images' new sizes, the images, and what the JSON of each says about it; small ones stay as they are.

    A JPEG that OpenCV writes has pixels and nothing else in it.
    """
    originals = [bytearray(size) for size in rows["byte_size"].to_pylist()]
    _read_jpegs(rows, lake_root, [memoryview(original) for original in originals])
    images: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    extras: list[str] = []
    for frame_id, original, width, height in zip(
        rows["frame_id"].to_pylist(), originals, rows["width"].to_pylist(), rows["height"].to_pylist(), strict=True
    ):
        scale = reencode.max_side / max(width, height)
        if scale >= 1:
            images.append(bytes(original))
            sizes.append((width, height))
            extras.append("")
            continue
        picture = cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError(f"the JPEG of frame {frame_id} cannot be decoded, so it cannot be made smaller; ingest its video again")
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        smaller = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        images.append(cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, reencode.quality])[1].tobytes())
        sizes.append(size)
        extras.append(f'"jpeg_quality":{reencode.quality},"original_size":[{width},{height}],')
    replaced: dict[str, Any] = {
        "byte_size": pa.array([len(image) for image in images], pa.int64()),
        "width": pa.array([size[0] for size in sizes], pa.int32()),
        "height": pa.array([size[1] for size in sizes], pa.int32()),
    }
    columns = {name: replaced.get(name, rows[name]) for name in rows.column_names}
    return pa.table(columns, schema=rows.schema), images, extras
