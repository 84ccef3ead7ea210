"""Source frames per second of ingest beside the bare decoders, in one run, as ratios.

Usage: python tests/benchmarks/bench_ingest.py [VIDEO ...] [--fps 1] [--repeats 3]
Without a video it takes the laparoscopy clip of ENDOFORGE_REAL_DATA. Everything runs in one process on one thread; numbers are medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av

from curation.config import IngestConfig
from curation.discover import hash_video
from curation.ingest import ingest_video
from curation.sampling import Decoder
from curation.video import DecoderDisagreement, index_packets, sample_frames


def decode_all(path: str) -> None:
    """Decode every frame, convert none: the limit."""
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for _ in container.decode(video=0):
            pass


def decord_loop(path: str, fps: float) -> None:
    """What a user of decord types."""
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    step = max(1, round(reader.get_avg_fps() / fps))
    for number in range(0, len(reader), step):
        reader.get_batch([number]).asnumpy()


def pyav_loop(path: str, fps: float) -> None:
    """What a user of PyAV types."""
    with av.open(path) as container:
        container.streams.video[0].codec_context.thread_count = 1
        due = 0.0
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= due:
                frame.to_ndarray(format="rgb24")
                due += 1 / fps


def ingest(path: str, fps: float, decoder: Decoder, *, keyframes: bool = False) -> None:
    """All of ingest, hashing and writing included."""
    with tempfile.TemporaryDirectory() as lake:
        config = IngestConfig(fps=fps, decoder=decoder, keyframes=keyframes)
        result = ingest_video(hash_video(path), lake_root=lake, config=config)
        if result.video is None:
            raise SystemExit(f"{path} was rejected: {result.reject}")


def measure(function: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Median wall and processor seconds."""
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return statistics.median(walls), statistics.median(processors)


def main() -> None:
    """Print one line per contender and video."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("videos", nargs="*")
    parser.add_argument("--fps", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    default = Path(os.environ.get("ENDOFORGE_REAL_DATA", ".")) / "videos" / "laparoscopy" / "rvimlab_endo.mp4"
    for path in arguments.videos or [str(default)]:
        num_frames = len(index_packets(path).pts)
        try:
            next(sample_frames(path, fps=arguments.fps, decoder="decord"))
            note = ""
        except DecoderDisagreement as objection:
            note = f" (ingest takes PyAV: {objection})"
        print(f"{path}: {num_frames} frames, sampled at {arguments.fps:g} per second{note}")
        contenders: dict[str, Callable[[], None]] = {
            "decode only (PyAV)": partial(decode_all, path),
            "PyAV loop": partial(pyav_loop, path, arguments.fps),
            "decord loop": partial(decord_loop, path, arguments.fps),
            "ingest, decord": partial(ingest, path, arguments.fps, "decord"),
            "ingest, PyAV": partial(ingest, path, arguments.fps, "pyav"),
            "ingest, keyframes": partial(ingest, path, arguments.fps, "pyav", keyframes=True),
        }
        for function in contenders.values():
            function()  # warm: imports, page cache
        times = {name: measure(function, arguments.repeats) for name, function in contenders.items()}
        limit = times["decode only (PyAV)"]
        for name, (wall, processor) in times.items():
            print(
                f"  {name:20s} {num_frames / wall:8.0f} frames/s  ratio {limit[0] / wall:5.2f}"
                f"   by processor time {num_frames / processor:8.0f}  ratio {limit[1] / processor:5.2f}"
            )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
