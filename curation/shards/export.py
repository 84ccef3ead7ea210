"""One shard in the form that other tools read: a folder of images, a Parquet file with images in it, or the tar as it is."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from curation.shards.write import SIDECAR_SCHEMA, sidecar_name
from warehouse.store import file_sha256

__all__ = ["ExportFormat", "ShardExport", "export_shard", "write_metadata"]

ExportFormat = Literal["imagefolder", "parquet", "hf"]

_COLUMNS = [field for field in SIDECAR_SCHEMA if field.name not in ("byte_offset", "byte_size")]
_PARQUET_SCHEMA = pa.schema(
    [pa.field("image", pa.struct({"bytes": pa.binary(), "path": pa.string()})), *_COLUMNS],
    # what the library `datasets` takes a column of bytes for an image by
    metadata={"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})},
)
_ROWS_PER_GROUP = 100
_METADATA = [
    *("frame_id", "video_id", "pts_us", "width", "height", "cluster_path"),
    *("blur", "luma", "specular_share", "out_of_body", "text_share"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardExport:
    """One tar to be exported."""

    shard: str
    folder: str
    sha256: str
    out: str
    """folder to write to"""
    format: ExportFormat
    target: str
    """file name of what is made, where that is one file"""


def export_shard(export: ShardExport) -> int:
    """Write one shard's part of an export; returns the number of its images.

    Raises:
        ValueError: the tar is not what the lake says.
    """
    tar = Path(export.folder, export.shard)
    out = Path(export.out)
    rows = pq.read_table(Path(export.folder, sidecar_name(export.shard)))
    if export.format == "hf":
        for name in (export.shard, sidecar_name(export.shard)):
            shutil.copyfile(Path(export.folder, name), out / name)
        _insist(out / export.shard, export)
        return int(rows.num_rows)
    _insist(tar, export)
    if export.format == "parquet":
        _write_parquet(tar, rows, out / export.target)
    else:
        for row, jpeg in _images(tar, rows):
            path = out / _cluster_folder(row["cluster_path"]) / f"{row['frame_id']}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(jpeg)
    return int(rows.num_rows)


def write_metadata(folder: Path, shards: Sequence[str], path: Path) -> int:
    """Write metadata.csv of an imagefolder as the library `datasets` wants it: a line a frame, a repeated one once; returns how many."""
    seen: set[str] = set()
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file_name", *_METADATA])
        for shard in shards:
            for row in pq.read_table(folder / sidecar_name(shard), columns=_METADATA).to_pylist():
                if row["frame_id"] not in seen:
                    seen.add(row["frame_id"])
                    name = f"{_cluster_folder(row['cluster_path'])}/{row['frame_id']}.jpg"
                    row["cluster_path"] = " ".join(map(str, row["cluster_path"]))
                    writer.writerow([name, *(row[column] for column in _METADATA)])
    return len(seen)


def _cluster_folder(cluster_path: list[int]) -> str:
    """The folder of a frame: that of its coarsest cluster."""
    return f"cluster-{cluster_path[-1]:04d}"


def _insist(path: Path, export: ShardExport) -> None:
    if (found := file_sha256(path)) != export.sha256:
        raise ValueError(
            f"{export.shard} has SHA-256 {found}, the lake says {export.sha256}; `endoforge verify` tells what is wrong with it"
        )


def _images(tar: Path, rows: pa.Table) -> Iterator[tuple[dict[str, Any], bytes]]:
    with tar.open("rb") as file:
        for row in rows.to_pylist():
            file.seek(row["byte_offset"])
            yield row, file.read(row["byte_size"])


def _write_parquet(tar: Path, rows: pa.Table, target: Path) -> None:
    """Images uncompressed, for they are compressed; small row groups, for a reader takes one at a time."""
    codecs = {name: "zstd" for name in _PARQUET_SCHEMA.names} | {
        "image.bytes": "none",
        "image.path": "zstd",
        "cluster_path.list.element": "zstd",
    }
    codecs = {name: codec for name, codec in codecs.items() if name not in ("image", "cluster_path")}
    with pq.ParquetWriter(target, _PARQUET_SCHEMA, compression=codecs) as writer:
        for start in range(0, rows.num_rows, _ROWS_PER_GROUP):
            part = rows.slice(start, _ROWS_PER_GROUP)
            images = [{"bytes": jpeg, "path": f"{row['frame_id']}.jpg"} for row, jpeg in _images(tar, part)]
            columns = {"image": pa.array(images, _PARQUET_SCHEMA.field("image").type)} | {f.name: part[f.name] for f in _COLUMNS}
            writer.write_table(pa.table(columns, schema=_PARQUET_SCHEMA))
