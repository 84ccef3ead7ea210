"""How curation grows: time and memory of each stage over lakes of 10^4, 10^5 and 10^6 frames, and a forecast for 1.2 x 10^8.

    python tests/benchmarks/bench_growth.py [--sizes 10000 100000 1000000] [--videos 8 80 800] [--out growth.html] [--keep FOLDER]

The lakes are made up (tests/benchmarks/growth_lake.py); `endoforge curate` runs on each in a process of its own with two workers, and what
it recorded of its runs, peak memory of all processes included, is what is shown. Ingest and embedding are measured
on that many phantom videos of 60 s, eight of them rendered and the others the same packets in files of other bytes; the rest starts from
the embeddings. The limits, in the same run: `read` is one pass
over the lake's vectors in their parts, `faiss` a bare assignment of all vectors to as many centroids as the tree has on its finest level
or, where that is fitted in cells, to twice their square root. A stage's exponent is the slope of log time on log frames.
`forecast` is what a plan without runs would have said of a run, over what it took: its time, and its memory.

With --keep, lakes that are there are gone on with, and what they have done is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import faiss
import numpy as np

from curation.config import CurateConfig
from curation.embedding.config import EmbedConfig
from curation.embedding.vectors import read_part
from curation.phantom.config import PhantomConfig
from curation.phantom.phantom import render_video
from curation.planning.timing import unit_rate
from evaluation.report.growth import StageGrowth, growth_rows
from evaluation.report.report import ReportData, render_report
from flows.stages.costs import Sizes
from flows.stages.growth import FORECAST_FRAMES, stage_growth
from flows.stages.order import STAGES
from tests.helpers.growth_lake import ENCODER_ID, make_lake
from warehouse.lake import open_lake
from warehouse.plan_sizes import finished_runs, pool_sizes
from warehouse.queries import embedding_parts

_RENDERED = 8
FROM_EMBEDDINGS = ("similarity", "dedup", "cluster", "select", "shard")


def endoforge(*arguments: str | Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "flows.cli.cli", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def curated(lake: Path, num_frames: int, *, dim: int, workers: int, clusters: Sequence[int]) -> tuple[StageGrowth, ...]:
    if not (lake / "catalog.sqlite").exists():
        made = [sys.executable, __file__, "--make", str(lake), "--sizes", str(num_frames), "--dim", str(dim)]
        subprocess.run(made, check=True)  # in a process of its own: pages that it leaves are not this one's
    size = max(1, num_frames // 10)
    levels = ["--num-clusters", *map(str, clusters)] if clusters else []
    endoforge("curate", "--lake", lake, "--name", "set", "--size", str(size), "--workers", str(workers), *levels)
    with open_lake(lake) as opened:
        return stage_growth(opened)


def videos(folder: Path, number: int) -> Path:
    """A folder of that many, none the same file as another."""
    folder.mkdir(exist_ok=True)
    phantom = PhantomConfig(num_train_videos=_RENDERED, seconds=60, fps=8, seed=1)
    for video in range(number):
        path = folder / f"{video:06d}.mp4"
        if path.exists():
            continue
        if video < _RENDERED:
            render_video(path, config=phantom, patient=video)
            continue
        with av.open(folder / f"{video % _RENDERED:06d}.mp4") as rendered, av.open(path, "w") as written:
            written.metadata["comment"] = str(video)
            stream = written.add_stream_from_template(rendered.streams.video[0])
            for packet in rendered.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    written.mux(packet)
    return folder


def ingested(folder: Path, num_videos: int, workers: int) -> tuple[StageGrowth, ...]:
    """Pictures as large as phantoms are: what ingest and embedding take."""
    lake = folder / f"ingested-{num_videos}"
    endoforge("ingest", videos(folder / f"videos-{num_videos}", num_videos), "--lake", lake, "--workers", str(workers))
    endoforge("embed", "--lake", lake, "--workers", str(workers))
    with open_lake(lake) as opened:
        return stage_growth(opened)


def limits(lake: Path, num_frames: int) -> dict[str, float]:
    """Seconds of one pass over the vectors, and of that with a bare assignment."""
    with open_lake(lake, read_only=True) as opened:
        parts = embedding_parts(opened, ENCODER_ID)
        finest = opened.rows("SELECT (metrics ->> 'num_clusters_level_1')::BIGINT AS k FROM runs WHERE stage = 'cluster'")[-1]["k"]
    k = min(finest if finest < 10_000 else 2 * round(finest**0.5), num_frames)
    index = faiss.IndexFlatL2(parts[0].dim)
    began = time.perf_counter()
    for part in parts:
        read_part(lake / part.path, part.dim)
    read = time.perf_counter() - began
    centroids = np.concatenate([read_part(lake / part.path, part.dim)[1] for part in parts[: -(-k // parts[0].num_frames)]])[:k]
    index.add(centroids.astype(np.float32))
    assigned = 0.0
    for part in parts:
        vectors = read_part(lake / part.path, part.dim)[1].astype(np.float32)
        began = time.perf_counter()
        index.search(vectors, 1)
        assigned += time.perf_counter() - began
    return {"read": read, "faiss": assigned}


def forecasts(lake: Path, workers: int) -> Iterator[str]:
    """Each run's time and memory by its cost and the machine's rate, over what was recorded."""
    with open_lake(lake, read_only=True) as opened:
        runs, dim, pool = finished_runs(opened), embedding_parts(opened, ENCODER_ID)[0].dim, pool_sizes(opened)
    stages = {stage.name: stage for stage in STAGES if stage.name in FROM_EMBEDDINGS}
    for run in runs:
        if (stage := stages.get(run.stage)) and stage.cost:
            num_frames = stage.frames_of(run)
            config = CurateConfig(size=int(run.metrics.get("num_selected", 1)))
            sizes = Sizes(config=config, dim=dim, jpeg_bytes=pool.jpeg_bytes, num_workers=workers)
            cost = stage.cost(num_frames, sizes.of_run(run))
            rate = unit_rate(cost.unit, dim=dim, encoder=EmbedConfig(), jpegs=())
            seconds = (stage.fixed_s + rate.seconds(cost, num_cores=workers)) / run.seconds
            yield (
                f"  {run.stage:<10} {num_frames:>9,}  {run.seconds:8.1f} s: forecast {seconds:.2f} ({rate.source}), "
                f"memory {cost.memory_bytes / (run.peak_memory_bytes or 1):.2f}"
            )


def together(grown: Sequence[tuple[StageGrowth, ...]]) -> tuple[StageGrowth, ...]:
    """The points of all lakes, the forecast of the largest."""
    found: dict[str, StageGrowth] = {}
    for stages in grown:
        for stage in stages:
            before = found.get(stage.stage)
            points = (*before.points, *stage.points) if before else stage.points
            line = (*(point for point in before.line if point.num_frames < stage.line[0].num_frames), *stage.line) if before else stage.line
            note = "; ".join(said for said in stage.note.split("; ") if not (before and said.startswith("one size only")))
            found[stage.stage] = replace(stage, points=points, line=line, note=note)
    return tuple(found.values())


def show(grown: Sequence[StageGrowth], found: dict[int, dict[str, float]]) -> None:
    for num_frames, seconds in found.items():
        print(f"limits at {num_frames:,} frames: one pass over the vectors {seconds['read']:.2f} s, bare FAISS {seconds['faiss']:.2f} s")
    for row in growth_rows(grown):
        stage = next(stage for stage in grown if stage.stage == row["stage"])
        print(f"\n{row['stage']}: exponent {'of one size' if row['exponent'] is None else format(row['exponent'], '.2f')}")
        for point in stage.points:
            expected = next((other for other in stage.line if other.num_frames == point.num_frames), None)
            memory = f"{(point.memory_bytes or 0) / 1e9:7.2f} GB"
            planned = f" (planned {expected.memory_bytes / 1e9:.2f})" if expected and expected.memory_bytes else ""
            peers = ", ".join(
                f"{point.seconds / seconds:.1f} x {name}"
                for size, by_name in found.items()
                for name, seconds in by_name.items()
                if stage.stage in FROM_EMBEDDINGS and size * 0.5 < point.num_frames <= size
            )
            print(f"  {point.num_frames:>11,}  {point.seconds:9.2f} s {memory}{planned}  {peers}")
        forecast = row["forecast"]
        if forecast:
            elsewhere = ", ".join(f"{seconds / 3600:.2f} h on {name}" for name, seconds in row["elsewhere"].items())
            print(
                f"  {forecast.num_frames:>11,}  {forecast.seconds / 3600:9.2f} h {(forecast.memory_bytes or 0) / 1e9:7.2f} GB  "
                f"{elsewhere}; disk {row['disk_bytes'] / 1e9:.0f} GB  {row['note']}"
            )


@contextlib.contextmanager
def kept(folder: Path | None) -> Iterator[Path]:
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="bench-growth-") as name:
            yield Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--clusters", type=int, nargs="*", default=[], help="levels to fit instead of the default ones")
    parser.add_argument(
        "--videos", type=int, nargs="*", default=[8, 80, 800], help="phantom videos to ingest and embed; none to leave that out"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="HTML page with the log-log charts")
    parser.add_argument("--keep", type=Path, help="folder for the lakes")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_lake(options.make, num_frames=options.sizes[0], dim=options.dim).close()
        return
    os.environ.setdefault("OMP_NUM_THREADS", str(options.workers))
    faiss.omp_set_num_threads(options.workers)
    grown: list[tuple[StageGrowth, ...]] = []
    found: dict[int, dict[str, float]] = {}
    with kept(options.keep) as folder:
        for num_frames in options.sizes:
            lake = folder / f"{num_frames}"
            grown.append(curated(lake, num_frames, dim=options.dim, workers=options.workers, clusters=options.clusters))
            found[num_frames] = limits(lake, num_frames)
            print(f"{num_frames:,} frames done", *forecasts(lake, options.workers), sep="\n", flush=True)
        for num_videos in options.videos:
            grown.append(ingested(folder, num_videos, options.workers))
    stages = together(grown)
    show(stages, found)
    if options.out:
        title = f"Growth of curation up to {max(options.sizes):,} frames, forecast to {FORECAST_FRAMES:,}"
        facts = (("vectors", f"{options.dim} dimensions"), ("workers", str(options.workers)))
        render_report(ReportData(title=title, facts=facts, growth=stages), options.out)


if __name__ == "__main__":
    main()
