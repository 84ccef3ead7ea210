"""WebDataset shards by byte copy: the JPEGs of chosen frames go from frame packs into tars as they are, unless smaller ones are asked for.

A dataset is a folder `shards/<name>` of tars, each with a sidecar Parquet of its frames and the evidence of its hash beside it; a
`samples.parquet` that says where every frame lies, a shard index, the cards, SHA256SUMS and `dataset.json`, written last
(curation/shards/dataset_folder.py).
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curation.shards.plan import MEMBER_SCHEMA, Reencode, ShardPlan
from curation.shards.tar import BLOCK, end_of_tar, json_members, padded, text_blocks, ustar_headers
from warehouse.records import Shard
from warehouse.store import atomic_file, file_sha256, read_json, write_json, write_parquet

__all__ = ["SIDECAR_SCHEMA", "evidence_name", "sidecar_name", "write_shard"]

SIDECAR_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64()),  # in the order of the shards and of the members within
        *(field for field in MEMBER_SCHEMA if field.name != "pack_path"),
    ]
)
"""What a sidecar says of a shard's frames; byte_offset and byte_size are those of the JPEG in the tar."""

_PART_BYTES = 32 << 20  # laid out at once: most shards whole, so that a tar is already being flushed while its last bytes are hashed
_PIECE_BYTES = 2 << 20  # read, and handed on to be hashed and written: fits the caches, and is much longer than a call takes
_JPEG_START = (0xFF, 0xD8)
_MAX_OPEN_PACKS = 128


def sidecar_name(shard: str) -> str:
    """The file name of a tar's sidecar."""
    return f"{shard.removesuffix('.tar')}.parquet"


def evidence_name(shard: str) -> str:
    """The file name of the evidence of a tar's hash."""
    return f"{shard}.sha256.json"


def write_shard(plan: ShardPlan, *, lake_root: str) -> Shard:
    """Write one tar: for each frame `{frame_id}.jpg`, copied from its pack, and `{frame_id}.json`.

    The same plan gives the same bytes. Writes shards/<dataset>/<shard>, its sidecar and, last, <shard>.sha256.json; where all are there
    for this plan, nothing is written. A thread beside this one hashes what this one reads, writes and flushes.

    The tar's bytes are on disk before its evidence is written. The names of the three files, and the bytes of the two small ones, are
    flushed by `finish_dataset` for all shards at once, before anything names the dataset; what a power cut takes of them until then is
    noticed here and written again.

    Raises:
        ValueError: a pack does not hold a JPEG where the plan says, or one that is to be made smaller cannot be decoded.
        FileNotFoundError: a pack is missing.
    """
    root = Path(lake_root)
    path = f"shards/{plan.dataset}/{plan.shard}"
    sidecar = root / f"shards/{plan.dataset}/{sidecar_name(plan.shard)}"
    evidence_path = root / f"shards/{plan.dataset}/{evidence_name(plan.shard)}"
    if found := _written_before(plan, root / path, sidecar, evidence_path):
        return found

    rows = pq.read_table(root / plan.members_path, use_threads=False)
    digest = hashlib.sha256()
    num_bytes = 0
    offsets: list[NDArray[np.int64]] = []
    stored: list[pa.Table] = []
    with atomic_file(root / path, durable=False) as file, ThreadPoolExecutor(1) as beside:
        before: list[Future[None]] = []
        for part in _parts(rows):
            layout, jpegs = _laid_out(part, lake_root, plan.reencode)
            offsets.append(layout.places + num_bytes)
            stored.append(layout.rows)
            os.posix_fallocate(file.fileno(), num_bytes, len(layout.buffer))  # halves the time of writing, and a full disk says so now
            num_bytes += len(layout.buffer)
            hashed = []
            for piece in _filled(layout, jpegs, lake_root):
                hashed.append(beside.submit(digest.update, piece))
                file.write(piece)
            for future in before:  # at most two parts are in memory
                future.result()
            before = hashed
        end = end_of_tar(num_bytes)
        before.append(beside.submit(digest.update, end))
        file.write(end)
        num_bytes += len(end)
        file.flush()
        os.fsync(file.fileno())
        for future in before:
            future.result()
    table = pa.concat_tables(stored)
    columns = {name: table[name] for name in SIDECAR_SCHEMA.names if name in table.column_names}
    columns["position"] = pa.array(np.arange(plan.first_position, plan.first_position + plan.num_images))
    columns["byte_offset"] = pa.array(np.concatenate(offsets))
    write_parquet(sidecar, pa.table({name: columns[name] for name in SIDECAR_SCHEMA.names}, schema=SIDECAR_SCHEMA), durable=False)
    shard = Shard(name=plan.shard, path=path, sha256=digest.hexdigest(), num_bytes=num_bytes, num_images=plan.num_images)
    evidence = {"members_sha256": plan.members_sha256, "shard": asdict(shard), "sidecar_sha256": file_sha256(sidecar)}
    write_json(evidence_path, evidence, durable=False)
    return shard


def _written_before(plan: ShardPlan, tar: Path, sidecar: Path, evidence_path: Path) -> Shard | None:
    """The shard of this plan that is there already, whole."""
    if not (evidence_path.exists() and tar.exists() and sidecar.exists()):
        return None
    try:
        evidence = read_json(evidence_path)
    except ValueError:  # a power cut left it empty
        return None
    whole = evidence.get("members_sha256") == plan.members_sha256 and evidence["shard"]["num_bytes"] == tar.stat().st_size
    return Shard(**evidence["shard"]) if whole and evidence.get("sidecar_sha256") == file_sha256(sidecar) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """A part of a tar with all of its bytes but those of the JPEGs."""

    rows: pa.Table
    """its frames, with the sizes of the images as they are stored"""
    buffer: NDArray[np.uint8]
    starts: NDArray[np.int64]
    """of each frame's two members in `buffer`, and where the last one ends"""
    places: NDArray[np.int64]
    """of each JPEG in `buffer`"""


def _parts(rows: pa.Table) -> Iterator[pa.Table]:
    """Runs of rows whose images make about _PART_BYTES."""
    for start, stop in _runs(rows["byte_size"].to_numpy(), _PART_BYTES):
        yield rows.slice(start, stop - start)


def _runs(sizes: NDArray[np.int64], num_bytes: int) -> Iterator[tuple[int, int]]:
    run_of_row = np.cumsum(sizes) // num_bytes
    starts = np.flatnonzero(np.diff(run_of_row, prepend=-1)).tolist()
    yield from zip(starts, [*starts[1:], len(sizes)], strict=True)


def _laid_out(rows: pa.Table, lake_root: str, reencode: Reencode | None) -> tuple[_Layout, list[bytes] | None]:
    """The layout of these frames, and their JPEGs where they are not those of the packs."""
    jpegs: list[bytes] | None = None
    extras: list[str] = []
    if reencode:
        rows, jpegs, extras = _made_smaller(rows, lake_root, reencode)
    frame_ids = rows["frame_id"].to_pylist()
    image_sizes = rows["byte_size"].to_numpy()
    texts, text_sizes = text_blocks(json_members(rows, extras=extras or None))
    image_blocks, num_text_blocks = padded(image_sizes) // BLOCK, padded(text_sizes) // BLOCK
    starts = np.concatenate([[0], np.cumsum(2 + image_blocks + num_text_blocks)])  # in blocks
    buffer = np.empty(starts[-1] * BLOCK, np.uint8)
    blocks = buffer.reshape(-1, BLOCK)
    text_headers = starts[:-1] + 1 + image_blocks
    blocks[starts[:-1]] = ustar_headers([f"{frame_id}.jpg" for frame_id in frame_ids], image_sizes)
    blocks[text_headers - 1] = 0  # the last of each JPEG, which it does not fill
    blocks[text_headers] = ustar_headers([f"{frame_id}.json" for frame_id in frame_ids], text_sizes)
    first_of_text = np.cumsum(num_text_blocks) - num_text_blocks
    blocks[np.repeat(text_headers + 1 - first_of_text, num_text_blocks) + np.arange(len(texts))] = texts
    return _Layout(rows=rows, buffer=buffer, starts=starts * BLOCK, places=(starts[:-1] + 1) * BLOCK), jpegs


def _filled(layout: _Layout, jpegs: list[bytes] | None, lake_root: str) -> Iterator[memoryview]:
    """The part's bytes a piece at a time, as soon as the JPEGs are in their places."""
    view = memoryview(layout.buffer.data)
    sizes = layout.rows["byte_size"].to_numpy()
    targets = [view[place : place + size] for place, size in zip(layout.places.tolist(), sizes.tolist(), strict=True)]
    with _Packs(lake_root) as packs:
        for start, stop in _runs(np.diff(layout.starts), _PIECE_BYTES):
            if jpegs is None:
                packs.read(layout.rows.slice(start, stop - start), targets[start:stop])
            else:
                for target, jpeg in zip(targets[start:stop], jpegs[start:stop], strict=True):
                    target[:] = jpeg
            yield view[layout.starts[start] : layout.starts[stop]]


class _Packs:
    """Open frame packs; as many as may be open at once."""

    def __init__(self, lake_root: str) -> None:
        self._root = lake_root
        self._open: OrderedDict[str, int] = OrderedDict()

    def __enter__(self) -> _Packs:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def read(self, rows: pa.Table, targets: list[memoryview]) -> None:
        """Read each frame's JPEG into its place.

        Raises:
            ValueError: there is none.
        """
        opened = self._open
        places = zip(rows["pack_path"].to_pylist(), rows["byte_offset"].to_pylist(), targets, strict=True)
        for row, (pack_path, byte_offset, target) in enumerate(places):
            descriptor = opened.get(pack_path) or self._open_pack(pack_path)
            if os.preadv(descriptor, [target], byte_offset) != len(target) or (target[0], target[1]) != _JPEG_START:
                raise ValueError(
                    f"frame pack {pack_path!r} holds no JPEG of {len(target)} bytes at byte {byte_offset} "
                    f"for frame {rows['frame_id'][row]}; the pack was changed after ingest, so ingest its video again"
                )

    def _open_pack(self, pack_path: str) -> int:
        if len(self._open) == _MAX_OPEN_PACKS:
            os.close(self._open.popitem(last=False)[1])
        self._open[pack_path] = os.open(os.path.join(self._root, pack_path), os.O_RDONLY)
        return self._open[pack_path]


def _made_smaller(rows: pa.Table, lake_root: str, reencode: Reencode) -> tuple[pa.Table, list[bytes], list[str]]:
    """The rows with the images' new sizes, the images, and what the JSON of each says about it; small ones stay as they are.

    A JPEG that OpenCV writes has pixels and nothing else in it.
    """
    originals = [bytearray(size) for size in rows["byte_size"].to_pylist()]
    with _Packs(lake_root) as packs:
        packs.read(rows, [memoryview(original) for original in originals])
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
