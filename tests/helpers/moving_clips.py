"""A dataset of clips as curation writes it, made without it: H.264 of a blob that moves over a pattern."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def moving_clip(number: int, *, num_frames: int = 40, width: int = 80, height: int = 64, fps: int = 30) -> bytes:
    """An MP4 whose blob moves left or right by the number's parity, over stripes and colours of its own."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    stripes = np.sin(columns * rng.uniform(0.1, 0.5) + rows * rng.uniform(0.1, 0.5))
    ground = 100 + 40 * stripes[..., None] * rng.uniform(0.3, 1.0, 3)
    colour, sign, start = rng.uniform(60, 250, 3), 1 if number % 2 else -1, rng.uniform(0, width)
    held = io.BytesIO()
    with av.open(held, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18", "g": "15", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(num_frames):
            at = (start + sign * index * 1.5) % width
            blob = np.exp(-((columns - at) ** 2 + (rows - height / 2) ** 2) / 90)[..., None]
            pixels = np.clip(ground * (1 - blob) + colour * blob, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return held.getvalue()


def write_clips(folder: Path, clips: list[bytes], *, per_shard: int = 8, videos: int = 5) -> Path:
    """Tars of mp4 and json members, samples.parquet with the byte offsets, dataset.json of the kind `clips`."""
    folder.mkdir(parents=True)
    rows, shards = [], []
    for first in range(0, len(clips), per_shard):
        path = folder / f"clips-{first // per_shard:06d}.tar"
        part = clips[first : first + per_shard]
        with tarfile.open(path, "w") as tar:
            for number, clip in enumerate(part, start=first):
                told = json.dumps({"clip_id": f"c{number}", "video_id": f"v{number % videos}", "group": f"v{number % videos}"}).encode()
                for name, data in ((f"c{number:08d}.mp4", clip), (f"c{number:08d}.json", told)):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.name.endswith(".mp4")]
        rows += [(first + i, path.name, f"c{first + i}", f"v{(first + i) % videos}", m.offset_data, m.size) for i, m in enumerate(members)]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"name": path.name, "path": path.name, "sha256": digest, "num_bytes": path.stat().st_size, "num_images": len(part)})
    names = ("position", "shard", "clip_id", "video_id", "byte_offset", "byte_size")
    pq.write_table(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), folder / "samples.parquet")
    dataset_id = hashlib.sha256("".join(str(shard["sha256"]) for shard in shards).encode()).hexdigest()
    (folder / "dataset.json").write_text(json.dumps({"dataset_id": dataset_id, "name": folder.name, "kind": "clips", "shards": shards}))
    return folder
