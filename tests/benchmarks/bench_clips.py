"""Clip cutting beside what nothing can do without: bare PyAV decoding of the same seconds and bare x264 encoding of the same pictures.

    python tests/benchmarks/bench_clips.py VIDEO [seconds] [repeats] [--no-text | --every-frame]

The video's first seconds are cut into clips in this process, on one thread: decoded, every frame looked at, encoded, packed. The limit is
PyAV's decoding of these frames to RGB, with scaling to the clips' size, and x264 by the clips' settings; both on one thread too. Medians of
three repeats, taken in turn; CPU time, so that neighbours on the machine matter little. Prints source seconds a CPU second of each, and the
share of the limit that cutting reaches.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np

from curation.clips import ClipConfig, ClipVideo, Moment, cut_video
from curation.filters import shrink
from curation.ingest import IngestConfig
from curation.sources import identify
from curation.video import encode_clip
from warehouse.records import VideoRef

CONFIG = ClipConfig()


def timed(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def cut(video: VideoRef, seconds: int, ingest: IngestConfig, config: ClipConfig) -> tuple[int, int]:
    """Clips kept and refused."""
    moments = tuple(Moment(pts_us=1_000_000 * each, drop_reason=None, text_boxes=None, width=None, height=None) for each in range(seconds))
    item = ClipVideo(video=video, ingest_key="0" * 64, ingest=ingest, cut_key="1" * 64, moments=moments)
    with tempfile.TemporaryDirectory() as lake:
        row = cut_video(item, lake_root=lake, config=config, removed={}).row
    assert row is not None
    return row["num_kept"], row["num_clips"] - row["num_kept"]


def decoded(path: Path, seconds: int) -> list[np.ndarray]:
    """The frames at the clips' size, by PyAV alone."""
    pictures = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= seconds:
                break
            rgb = frame.to_ndarray(format="rgb24")
            scale = CONFIG.clip_side / min(rgb.shape[:2])
            pictures.append(shrink(rgb, 2 * round(rgb.shape[1] * scale / 2), 2 * round(rgb.shape[0] * scale / 2)))
    return pictures


def encode(pictures: list[np.ndarray], seconds: int) -> None:
    """As many frames as the clips have, in pieces as long as theirs."""
    count = round(seconds * CONFIG.clip_fps)
    size = (pictures[0].shape[1], pictures[0].shape[0])
    for start in range(0, count, CONFIG.clip_frames):
        shown = range(start, min(start + CONFIG.clip_frames, count))
        frames = (pictures[min(len(pictures) - 1, number * len(pictures) // count)] for number in shown)
        encode_clip(frames, size=size, fps=CONFIG.clip_fps, crf=CONFIG.clip_crf)


def main() -> None:
    path = Path(sys.argv[1])
    numbers = [int(word) for word in sys.argv[2:] if word.isdecimal()]
    seconds, repeats = [*numbers, *(10, 3)[len(numbers) :]][:2]
    config = replace(CONFIG, clip_text_every_s=0) if "--every-frame" in sys.argv else CONFIG
    ingest = IngestConfig(text="off" if "--no-text" in sys.argv else "blackout")
    cv2.setNumThreads(1)
    video = identify(VideoRef(video_id="", path=str(path.absolute()), num_bytes=path.stat().st_size))
    assert isinstance(video, VideoRef)
    kept, refused = cut(video, seconds, ingest, config)  # loads what is loaded once
    pictures = decoded(path, seconds)
    times = np.array(
        [
            (
                timed(lambda: cut(video, seconds, ingest, config)),
                timed(lambda: decoded(path, seconds)),
                timed(lambda: encode(pictures, seconds)),
            )
            for _ in range(repeats)
        ]
    )
    cutting, decoding, encoding = (median(column) for column in times.T)
    print(f"{path.name}: {seconds} s, {len(pictures)} frames; {kept} clips kept, {refused} refused; text {ingest.text}")
    print(f"cutting   {seconds / cutting:6.2f} source seconds a CPU second, {len(pictures) / cutting:6.1f} frames")
    print(f"decoding  {seconds / decoding:6.2f}")
    print(f"encoding  {seconds / encoding:6.2f}")
    print(f"limit     {seconds / (decoding + encoding):6.2f}, of which cutting reaches {(decoding + encoding) / cutting:.2f}")


if __name__ == "__main__":
    main()
