"""Growth of every step of an ingest between "found" and "decoding", in rows of a manifest.

    python tests/benchmarks/bench_inventory.py [--rows 10000 100000 1000000]

A third of the rows name files that are there and known to the lake, a third files that are new and copies of these, a third nothing. No
file is decoded. Prints seconds for each step, and how a step's time grows when the rows grow tenfold: 10 is linear, 100 quadratic.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_key
from curation.sources.manifest import listed_videos, read_manifest
from flows.job import Job
from flows.runners.runners import SerialRunner
from flows.stages.ingest_batches import Batches, ingest_in_batches
from flows.stages.ingest_plan import decided_before, plan_ingest
from flows.stages.inventory import take_inventory
from flows.stages.manifests import record_manifest
from warehouse.files import known_files, remember_files, remember_gone
from warehouse.lake import Lake, open_lake
from warehouse.left import remember_left
from warehouse.records import Reject


def make_manifest(folder: Path, num_rows: int) -> Path:
    """Files of a few bytes in folders of a thousand, and rows that name them."""
    lines = ["uri,site"]
    for number in range(num_rows):
        path = folder / f"{number // 1000:04d}" / f"v{number}.mp4"
        if number % 3 < 2:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"content %d" % (number - number % 3))
        lines.append(f"{path},S{number % 5}")
    manifest = folder / "m.csv"
    manifest.write_text("\n".join(lines))
    return manifest


class Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what happens inside."""
        started = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):
            yield
        self.seconds[name] = time.perf_counter() - started


def reject(video_id: str, uri: str, num_bytes: int, reason: str) -> Reject:
    """A reject under the default settings."""
    return Reject(uri=uri, video_id=video_id, ingest_key=ingest_key(IngestConfig()), num_bytes=num_bytes, reason=reason, detail="")


def measure(lake: Lake, manifest_path: Path) -> dict[str, float]:
    """All steps for one manifest."""
    clock, job, config = Clock(), Job(lake=lake, runner=SerialRunner()), IngestConfig(settle_s=0)
    with clock.step("read manifest"):
        manifest = read_manifest(manifest_path, None)
    with clock.step("list"):
        listed_videos(manifest)
    with clock.step("list, hash and identify"):
        inventory = take_inventory(job, [str(manifest_path)], config=config, patient_key=None)
    with clock.step("known files"):
        known_files(lake)
    with clock.step("list and identify again"):
        inventory = take_inventory(job, [str(manifest_path)], config=config, patient_key=None)
    with clock.step("ask what is decided"):
        before = decided_before(lake, config)
    with clock.step("decide new, moved, copies"):
        plan = plan_ingest(before, inventory, retry_failed=False)
    ids = {video.uri: video.video_id for video in inventory.videos}
    rejects = [reject(video.video_id, video.uri, video.num_bytes, "duplicate") for video in plan.duplicates]
    originals = [reject(video.video_id, video.uri, video.num_bytes, "not_a_video") for video in plan.new]
    with clock.step("record rejects"):
        batches = Batches(job=job, config=config, patient_key=None, given_up=plan.given_up)
        list(ingest_in_batches([], [*originals, *rejects], batches))
    for manifest, infos in inventory.manifests:
        with clock.step("record manifest"):
            record_manifest(job, manifest, infos, ids)
    with clock.step("record what is left"):
        remember_left(lake, [*ids, *inventory.left], inventory.left)
    with clock.step("and when nothing changed"):
        remember_left(lake, [*ids, *inventory.left], inventory.left)
    with clock.step("note files"):
        remember_files(lake, inventory.videos)
    with clock.step("note files gone"):
        remember_gone(lake, [video.uri for video in inventory.videos])
    with clock.step("decide again, all known"):
        known = plan_ingest(decided_before(lake, config), inventory, retry_failed=False)
    assert (len(known.new), len(known.duplicates), known.num_known) == (0, 0, len(inventory.videos)), "every file is decided by now"
    return clock.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--most-growth", type=float, default=20.0, help="fail if a step that takes a second grows by more, for ten times the rows"
    )
    arguments = parser.parse_args()
    table: list[dict[str, float]] = []
    for num_rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder, open_lake(Path(folder) / "lake", create=True) as lake:
            table.append(measure(lake, make_manifest(Path(folder) / "archive", num_rows)))
    print(f"{'step':<28}" + "".join(f"{num_rows:>12}" for num_rows in arguments.rows) + "   growth for ten times the rows")
    too_steep = []
    for name in table[0]:
        seconds = [row[name] for row in table]
        growth = seconds[-1] / max(1e-3, seconds[-2]) if len(seconds) > 1 else 0.0
        print(f"{name:<28}" + "".join(f"{value:>11.2f}s" for value in seconds) + f"{growth:>10.1f}")
        too_steep += [name] if growth > arguments.most_growth and seconds[-1] > 1 else []
    print(f"{'all':<28}" + "".join(f"{sum(row.values()):>11.2f}s" for row in table))
    if too_steep:
        raise SystemExit(f"these steps grow faster than linearly: {', '.join(too_steep)}")


if __name__ == "__main__":
    main()
