"""Shard writing beside cp of the same bytes, and reading beside tars of webdataset's own writer, in one run.

    python tests/benchmarks/bench_shards.py [number of images] [--cold]

Random JPEG-shaped bytes of 10 to 36 KB stand for frames: nothing here decodes. Medians of five. What is read is in the page cache, or with
--cold is put out of it before each measurement. Ours is everything from plans to a finished dataset: tars, sidecars, sample table and sums,
hashed and flushed to the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import webdataset

from curation.packs.pack import write_pack
from curation.shards.dataset_folder import finish_dataset
from curation.shards.plan import MEMBER_SCHEMA, plan_shards
from curation.shards.write import write_shard
from flows.runners.runners import ProcessRunner, Runner, SerialRunner, successes

IMAGES_PER_PACK, IMAGES_PER_SHARD, REPEATS, WORKERS = 200, 1000, 5, 2
MOST_READ = 30_000  # images that are also written and read with webdataset, whose writer is given all of them in memory


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


def seconds(action: Callable[[], object], evicted: list[Path]) -> float:
    subprocess.run(["sync"], check=True)
    for path in evicted:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def shell(tars: list[Path], folder: Path, command: str) -> None:
    """Run a command on the tars, split among so many shells at once as it has lines: `$@` are a shell's tars, `$TO` the new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    lines = command.split("\n")
    parts = [tars[index :: len(lines)] for index in range(len(lines))]
    shells = [
        subprocess.Popen(["sh", "-ec", line, "sh", *map(str, part)], env={**os.environ, "TO": str(folder)}, stdout=subprocess.DEVNULL)
        for line, part in zip(lines, parts, strict=True)
        if part
    ]
    assert all(process.wait() == 0 for process in shells)


def hash_all(num_bytes: int) -> None:
    """SHA-256 of so many bytes, on two cores and without reading or writing any: what no writer that hashes can be faster than."""
    data = bytes(2 << 20)

    def hash_half(_: int) -> None:
        digest = hashlib.sha256()
        for _ in range(num_bytes // 2 // len(data)):
            digest.update(data)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(hash_half, range(2)))


def write_theirs(samples: list[dict[str, Any]], folder: Path) -> None:
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "theirs-%06d.tar"), maxcount=IMAGES_PER_SHARD, verbose=0) as writer:
        for sample in samples:
            writer.write({"__key__": sample["__key__"], "jpg": sample["jpg"], "json": json.loads(sample["json"])})


def read(tars: list[Path]) -> list[dict[str, Any]]:
    return list(webdataset.WebDataset([str(path) for path in tars], shardshuffle=False))


def main(num_images: int, cold: bool) -> None:
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        root = Path(temporary)
        members = make_packs(root, num_images)
        packs = sorted((root / "frames").iterdir())
        started = time.perf_counter()
        plans = plan_shards(members, name="ours", images_per_shard=IMAGES_PER_SHARD, min_shards=1, seed=0, lake_root=str(root))
        planning = time.perf_counter() - started
        runner = ProcessRunner(WORKERS)
        stack.enter_context(runner.reuse_workers())

        def write_all(runner: Runner) -> None:
            shards = list(successes(runner.map(write_shard, plans, lake_root=str(root)), stage="shard"))
            finish_dataset(plans, shards, selection_id="5" * 64, lake_root=str(root))

        write_all(runner)  # the workers import what they need
        ours = sorted((root / "shards/ours").glob("*.tar"))
        num_bytes = sum(path.stat().st_size for path in ours)
        copies = root / "copies"
        both = "{0}\n{0}".format
        copy, flush, check = 'cp "$@" "$TO"', 'for tar; do sync "$TO/${tar##*/}"; done', 'for tar; do openssl sha256 "$TO/${tar##*/}"; done'
        peers = {
            "cp of the same tars": copy,
            "two cp at once": both(copy),
            "cp, then fsync": f"{copy}; {flush}",
            "two cp at once, then fsync": both(f"{copy}; {flush}"),
            "cp; openssl sha256": f"{copy}; {check}",
            "two of cp; openssl sha256; fsync": both(f"{copy}; {check}; {flush}"),
        }
        times: dict[str, list[float]] = {}

        def measure(name: str, action: Callable[[], object], reads: list[Path]) -> None:
            times.setdefault(name, []).append(seconds(action, reads if cold else []))

        for _ in range(REPEATS):  # interleaved, so that other work on the machine meets all alike
            for name, command in peers.items():
                measure(name, partial(shell, ours, copies, command), ours)
            shutil.rmtree(copies)
            for name, way in (("one process", SerialRunner()), ("two workers", runner)):
                shutil.rmtree(root / "shards/ours", ignore_errors=True)
                measure(f"ours, {name} (hashed, flushed)", partial(write_all, way), packs)
            measure("limit: SHA-256 alone on two cores", partial(hash_all, num_bytes), [])
            if num_images <= MOST_READ:
                shutil.rmtree(root / "theirs", ignore_errors=True)
                measure("write with webdataset", partial(write_theirs, read(ours), root / "theirs"), [])
                theirs = sorted((root / "theirs").glob("*.tar"))
                measure("read ours with webdataset", partial(read, ours), ours)
                measure("read webdataset's with webdataset", partial(read, theirs), theirs)
        where = "from disk" if cold else "from the page cache"
        print(f"{num_images} images, {num_bytes / 1e6:.0f} MB in {len(plans)} tars, read {where}; planning {planning:.2f} s")
        main_row = "ours, two workers (hashed, flushed)"
        print(
            f"{'median of ' + str(REPEATS):38}{'s':>8}{'images/s':>12}{'MB/s':>8}{'best, s':>10}   two workers reach, by median and by best"
        )
        for name, values in times.items():
            middle, best = float(np.median(values)), min(values)
            ratios = f"{middle / float(np.median(times[main_row])):5.2f}{best / min(times[main_row]):7.2f} of it"
            print(f"{name:38}{middle:8.3f}{num_images / middle:12.0f}{num_bytes / middle / 1e6:8.0f}{best:10.3f}   {ratios}")


if __name__ == "__main__":
    numbers = [argument for argument in sys.argv[1:] if argument != "--cold"]
    main(int(numbers[0]) if numbers else 4000, "--cold" in sys.argv)
