"""Source frames per second of ingest, beside the decoder alone and beside what one would type instead, as ratios from one run.

Usage: python tests/benchmarks/bench_ingest.py VIDEO ... [--workers 2] [--repeats 3] [--minutes 5] [--memory]

Needs ffmpeg. The corpus is six videos of 1280x1024 from a generator that is not part of the repository; without arguments the laparoscopy
clip of ENDOFORGE_REAL_DATA is taken, which is too short to say much: a video costs its survey whatever its length, so with --minutes each
is repeated to that length, as an archive's are. Every contender works on as many videos at a time as there are workers; ours in workers
that have ingested something before, as they have in an archive. Numbers are medians.

  limit   ffmpeg -threads 1 -f null: decoding alone
  ingest  the whole of it: hash, survey, decoding, every filter, search for text, JPEG, packs and Parquet; what no sample needs is not
          decoded, unless `thorough`, which is what the limit does
  peer    ffmpeg -vf fps=1 -q:v 2 to JPEG files, with as many threads as ffmpeg takes by itself; then, one process a core, the same filters,
          search for text and packs over these in a second pass
  GOP     ingest, thorough and not, and keyframes once more, over those of the videos whose keyframes are at most a second apart
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import os
import pstats
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile

import cv2
import numpy as np

from curation.ingest.config import IngestConfig
from curation.ingest.decide import decide, spare_reasons
from curation.ingest.ingest import ingest_video
from curation.ingest.scan import measured, spooled
from curation.ingest.survey import NUM_PICTURES, PICTURE_SIDE, survey_pictures
from curation.packs.pack import write_pack
from curation.sources.discover import hash_video
from curation.video.container import probe
from curation.video.packet_index import index_packets
from curation.video.sampling import DecodeReport, SampledFrame, keyframe_spacing_s
from flows.runners import Failure
from flows.runners.runners import ProcessRunner

ARCHIVE_VIDEOS, ARCHIVE_FRAMES = 130_000, 3.5e9
"""the reference workload: the archive that EndoDINO was trained from (arXiv 2501.05488)"""

PARTS = {  # functions whose time, with all they call, is one part of an ingest
    "hash of the file": ("file_sha256",),
    "packets' index": ("index_packets",),
    "survey: area, insets, text": ("survey_video",),
    "decode": ("sample_with_decord", "sample_with_pyav"),
    "filters": ("_measure",),
    "scale": ("shrink",),
    "text": ("see", "_settle_text"),
    "JPEG": ("_spool",),
    "decide": ("decide",),
    "write packs and rows": ("_write",),
}


def ffmpeg(*arguments: str) -> None:
    """Run it quietly."""
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments], check=True)


def repeated(path: str, minutes: float, folder: str) -> str:
    """The video over and over to about that length, its packets copied."""
    long = Path(folder, Path(path).name)
    times = max(1, round(minutes * 60 / probe(path).duration_s))
    ffmpeg("-stream_loop", str(times - 1), "-i", path, "-map", "0:v:0", "-c", "copy", str(long))
    return str(long)


def decode_only(videos: Sequence[str], workers: int) -> None:
    """The limit."""
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda path: ffmpeg("-threads", "1", "-i", path, "-f", "null", "-"), videos))


def ingest(videos: Sequence[str], runner: ProcessRunner, config: IngestConfig) -> None:
    """All of ingest but the commit, which is one a batch of videos."""
    with tempfile.TemporaryDirectory() as lake:
        for result in runner.map(hash_and_ingest, videos, lake=lake, config=config):
            if isinstance(result, Failure) or result is not None:
                raise SystemExit(f"a video was not ingested: {result}")


def hash_and_ingest(path: str, *, lake: str, config: IngestConfig) -> str | None:
    """Returns why it was rejected."""
    result = ingest_video(hash_video(path), lake_root=lake, config=config)
    return None if result.video else str(result.reject)


def peer(videos: Sequence[str], runner: ProcessRunner, config: IngestConfig) -> None:
    """Frames to files, then the same work over the files."""
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder, str(number)) for number in range(len(videos))]
        for each in folders:
            each.mkdir()
        with ThreadPoolExecutor(runner.num_workers) as pool:
            list(pool.map(lambda path, out: ffmpeg("-i", path, "-vf", "fps=1", "-q:v", "2", f"{out}/%06d.jpg"), videos, folders))
        for result in runner.map(second_pass, list(map(str, folders)), config=config):
            if isinstance(result, Failure):
                raise SystemExit(f"the second pass failed: {result}")


def second_pass(folder: str, *, config: IngestConfig) -> None:
    """Filters, search for text and packs over the JPEG files of one video."""
    cv2.setNumThreads(1)
    paths = sorted(Path(folder).iterdir())

    def frames() -> Iterator[SampledFrame]:
        for number, path in enumerate(paths):
            rgb = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))
            yield SampledFrame(frame_index=number, pts_us=number * 1_000_000, rgb=rgb)

    overview = [np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)) for path in paths[:: max(1, len(paths) // NUM_PICTURES)]]
    height, width = overview[0].shape[:2]
    small = [
        cv2.resize(picture, (PICTURE_SIDE, round(PICTURE_SIDE * height / width)), interpolation=cv2.INTER_AREA)
        for picture in overview[:NUM_PICTURES]
    ]
    survey = survey_pictures(small, (width, height), config)
    with SpooledTemporaryFile() as spool:
        samples = measured(frames(), survey, config, spool, DecodeReport())
        decide(samples, config)
        for name, reasons in (("pack", (None,)), ("spare", spare_reasons())):
            chosen = [(f"{number:06d}", sample) for number, sample in enumerate(samples) if sample.drop_reason in reasons]
            if chosen:
                write_pack(Path(folder, f"{name}.tar"), ((frame_id, spooled(spool, sample)) for frame_id, sample in chosen))


def seconds(function: Callable[[], None], repeats: int) -> float:
    """Median wall-clock time."""
    walls = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        walls.append(time.perf_counter() - started)
    return statistics.median(walls)


def breakdown(videos: Sequence[str], config: IngestConfig) -> None:
    """Where the time of one worker goes."""
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as lake:
        started = time.perf_counter()
        profile.enable()
        for path in videos:
            hash_and_ingest(path, lake=lake, config=config)
        profile.disable()
        whole = time.perf_counter() - started
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # typeshed has no public name for it
    spent = {part: sum(row[3] for (_, _, name), row in stats.items() if name in names) for part, names in PARTS.items()}
    print(f"where the time goes, one worker ({whole:.1f} s):")
    for part, time_s in spent.items():
        print(f"  {part:28s} {time_s / whole:6.1%}")
    print("  (decoding holds the conversion to RGB; scaling is in part counted under filters and survey too)")


def peak_mb(path: str, config: IngestConfig) -> float:
    """Peak resident memory of a fresh worker that ingests one video."""
    with multiprocessing.get_context("spawn").Pool(1) as pool, tempfile.TemporaryDirectory() as lake:
        return pool.apply(_ingest_and_peak, (path, lake, config))


def _ingest_and_peak(path: str, lake: str, config: IngestConfig) -> float:
    reason = hash_and_ingest(path, lake=lake, config=config)
    if reason:
        raise RuntimeError(reason)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(path: str) -> None:
    """Worker memory over ten minutes and an hour of the same video; decord itself declines what it would hold too much of."""
    peaks = []
    for minutes in (10, 60):
        with tempfile.TemporaryDirectory() as folder:
            peaks.append(f"{minutes} min {peak_mb(repeated(path, minutes, folder), IngestConfig()):.0f} MB")
    print(f"peak memory of a worker: {', '.join(peaks)}")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="only worker memory over 10 and 60 minutes of the first video")
    parser.add_argument("--minutes", type=float, default=0, help="repeat each video to this length; 0 leaves them as they are")
    arguments = parser.parse_args()
    default = Path(os.environ.get("ENDOFORGE_REAL_DATA", ".")) / "videos" / "laparoscopy" / "rvimlab_endo.mp4"
    videos = arguments.videos or [str(default)]
    if arguments.memory:
        return memory(videos[0])
    with tempfile.TemporaryDirectory() as folder:
        if arguments.minutes:
            videos = [repeated(path, arguments.minutes, folder) for path in videos]
        compare(videos, arguments.workers, arguments.repeats)


def compare(videos: list[str], workers: int, repeats: int) -> None:
    """Print the contenders' speed and where the time of one worker goes."""
    num_frames = sum(len(index_packets(path).pts) for path in videos)
    hours = sum(probe(path).duration_s for path in videos) / 3600
    print(f"{len(videos)} videos, {num_frames} frames, {hours * 60:.1f} minutes; {workers} workers")
    runner = ProcessRunner(workers)
    with runner.reuse_workers():
        contenders: dict[str, Callable[[], None]] = {
            "limit: ffmpeg, decode only": partial(decode_only, videos, workers),
            "ingest": partial(ingest, videos, runner, IngestConfig()),
            "ingest, thorough": partial(ingest, videos, runner, IngestConfig(thorough=True)),
            "ingest, decord": partial(ingest, videos, runner, IngestConfig(decoder="decord")),
            "ingest, text off": partial(ingest, videos, runner, IngestConfig(text="off")),
            "ingest, keyframes": partial(ingest, videos, runner, IngestConfig(keyframes=True)),
            "peer: ffmpeg fps=1, 2nd pass": partial(peer, videos, runner, IngestConfig()),
        }
        ingest(videos[:workers], runner, IngestConfig())  # imports, page cache
        times = {name: seconds(function, repeats) for name, function in contenders.items()}
        close = [path for path in videos if keyframe_spacing_s(index_packets(path)) <= 1.001]
        of_close = (IngestConfig(thorough=True), IngestConfig(), IngestConfig(keyframes=True))
        trio = [seconds(partial(ingest, close, runner, config), repeats) for config in of_close] if close else []
    limit, ours = times["limit: ffmpeg, decode only"], times["ingest"]
    for name, time_s in times.items():
        print(f"  {name:30s} {num_frames / time_s:8.0f} frames/s   {limit / time_s:5.2f} of the limit   {ours / time_s:5.2f} times ingest")
    if trio:
        print(
            f"  over the {len(close)} videos with a keyframe a second, keyframes alone are {trio[0] / trio[2]:.2f} times as fast as ingest "
            f"that decodes every frame and {trio[1] / trio[2]:.2f} times as fast as ingest"
        )
    core_s = ours * workers
    print(f"ingest takes {core_s / hours / 60:.1f} core minutes an hour of video of this size")
    print(f"{ARCHIVE_VIDEOS} videos with {ARCHIVE_FRAMES:.1e} frames of it would take")
    for cores in (1, 32, 1000):
        print(f"  {cores:5d} cores {core_s / num_frames * ARCHIVE_FRAMES / cores / 3600:10.1f} hours")
    breakdown(videos[:1], IngestConfig())


if __name__ == "__main__":
    main()
