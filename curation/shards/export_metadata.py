"""metadata.csv of an imagefolder export, as the library `datasets` wants it: `file_name` and the columns of the sidecars."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from curation.shards.export import cluster_folder
from curation.shards.write import sidecar_name

__all__ = ["write_metadata"]

_COLUMNS = (
    "frame_id",
    "video_id",
    "pts_us",
    "width",
    "height",
    "cluster_path",
    "blur",
    "luma",
    "specular_share",
    "out_of_body",
    "text_share",
)


def write_metadata(folder: Path, shards: Sequence[str], path: Path) -> int:
    """Write a line a frame, a repeated frame once; returns how many."""
    seen: set[str] = set()
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file_name", *_COLUMNS])
        for shard in shards:
            for row in pq.read_table(folder / sidecar_name(shard), columns=list(_COLUMNS)).to_pylist():
                if row["frame_id"] not in seen:
                    seen.add(row["frame_id"])
                    name = f"{cluster_folder(row['cluster_path'])}/{row['frame_id']}.jpg"
                    row["cluster_path"] = " ".join(map(str, row["cluster_path"]))
                    writer.writerow([name, *(row[column] for column in _COLUMNS)])
    return len(seen)
