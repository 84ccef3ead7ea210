"""A dataset's shards as curation writes them, made without it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def write_dataset(folder: Path, jpegs: list[bytes], per_shard: int) -> Path:
    """Tars of jpg and json members, samples.parquet with the byte offsets, dataset.json with the hashes."""
    folder.mkdir(parents=True)
    rows, shards = [], []
    for first in range(0, len(jpegs), per_shard):
        path = folder / f"tiny set é-{first // per_shard:06d}.tar"
        part = jpegs[first : first + per_shard]
        with tarfile.open(path, "w") as tar:
            for number, jpeg in enumerate(part, start=first):
                for name, data in ((f"{number:08d}.jpg", jpeg), (f"{number:08d}.json", b"{}")):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.name.endswith(".jpg")]
        rows += [(first + i, path.name, f"f{first + i}", f"v{i % 3}", m.offset_data, m.size) for i, m in enumerate(members)]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"name": path.name, "path": path.name, "sha256": digest, "num_bytes": path.stat().st_size, "num_images": len(part)})
    names = ("position", "shard", "frame_id", "video_id", "byte_offset", "byte_size")
    pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), folder / "samples.parquet")
    dataset_id = hashlib.sha256("".join(str(shard["sha256"]) for shard in shards).encode()).hexdigest()
    (folder / "dataset.json").write_text(json.dumps({"dataset_id": dataset_id, "name": "tiny", "shards": shards}))
    return folder


def picture(number: int) -> bytes:
    """A JPEG of coloured blobs that differ from picture to picture."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (72, 64), interpolation=cv2.INTER_CUBIC)
    encoded: bytes = cv2.imencode(".jpg", image)[1].tobytes()
    return encoded
