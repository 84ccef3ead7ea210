"""Shard writing beside cp of the same bytes, and reading beside tars of webdataset's own writer, in one run.

    python tests/benchmarks/bench_shards.py [number of images]

Random JPEG-shaped bytes of 10 to 36 KB stand for frames: nothing here decodes. Medians of five; all files are in the page cache.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import webdataset

from curation.pack import write_pack
from curation.shard_plan import MEMBER_SCHEMA, plan_shards
from curation.shards import write_shard

IMAGES_PER_PACK, IMAGES_PER_SHARD, REPEATS = 200, 1000, 5


def make_packs(root: Path, num_images: int) -> pa.Table:
    rng = np.random.default_rng(0)
    rows = []
    for pack in range(-(-num_images // IMAGES_PER_PACK)):
        path = f"frames/{pack}.tar"
        frames = [
            (f"{pack:060d}{frame:04d}", b"\xff\xd8" + rng.bytes(int(rng.integers(10_000, 36_000)))) for frame in range(IMAGES_PER_PACK)
        ]
        for frame, entry in enumerate(write_pack(root / path, frames).entries):
            place = {"pack_path": path, "byte_offset": entry.byte_offset, "byte_size": entry.byte_size}
            crop = {"crop_x": 0, "crop_y": 0, "crop_width": 320, "crop_height": 320, "width": 320, "height": 320}
            rows.append(
                {"frame_id": entry.frame_id, "video_id": f"{pack:064d}", "pts_us": frame * 10**6, "cluster_path": [7, 1], **place, **crop}
            )
    return pa.Table.from_pylist(rows, schema=MEMBER_SCHEMA)


def seconds(action: Callable[[], object]) -> float:
    subprocess.run(["sync"], check=True)
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def write_theirs(samples: list[dict[str, Any]], folder: Path) -> None:
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "theirs-%06d.tar"), maxcount=IMAGES_PER_SHARD, verbose=0) as writer:
        for sample in samples:
            writer.write({"__key__": sample["__key__"], "jpg": sample["jpg"], "json": json.loads(sample["json"])})


def read(tars: list[Path]) -> list[dict[str, Any]]:
    return list(webdataset.WebDataset([str(path) for path in tars], shardshuffle=False))


def main(num_images: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        members = make_packs(root, num_images)
        started = time.perf_counter()
        plans = plan_shards(members, name="ours", images_per_shard=IMAGES_PER_SHARD, min_shards=1, seed=0, lake_root=str(root))
        planning = time.perf_counter() - started

        def write_all() -> None:
            for plan in plans:
                write_shard(plan, lake_root=str(root))

        times: dict[str, list[float]] = {}

        def measure(name: str, action: Callable[[], object]) -> None:
            times.setdefault(name, []).append(seconds(action))

        for _ in range(REPEATS):  # interleaved, so that other work on the machine meets all alike
            for folder in ("shards/ours", "copies", "theirs"):
                shutil.rmtree(root / folder, ignore_errors=True)
            measure("write ours (hashed, fsynced)", write_all)
            ours = sorted((root / "shards/ours").glob("*.tar"))
            (root / "copies").mkdir()
            copy = ["cp", *map(str, ours), str(root / "copies")]
            measure("cp of the same tars", partial(subprocess.run, copy, check=True))
            shutil.rmtree(root / "copies")
            (root / "copies").mkdir()
            flushed = ["sh", "-c", '"$@" && sync "$0"/*', str(root / "copies"), *copy]
            measure("cp, then fsync", partial(subprocess.run, flushed, check=True))
            measure("write with webdataset", partial(write_theirs, read(ours), root / "theirs"))
            theirs = sorted((root / "theirs").glob("*.tar"))
            measure("read ours with webdataset", partial(read, ours))
            measure("read webdataset's with webdataset", partial(read, theirs))
        num_bytes = sum(path.stat().st_size for path in ours)
        print(f"{members.num_rows} images, {num_bytes / 1e6:.0f} MB in {len(plans)} tars; planning {planning:.2f} s")
        for name, values in times.items():
            middle = float(np.median(values))
            print(f"{name:36}{middle:8.3f} s {members.num_rows / middle:10.0f} images/s {num_bytes / middle / 1e6:8.0f} MB/s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
