"""Speed of the phantom on one core beside its limit and beside libx264 alone: `python tests/benchmarks/bench_phantom.py`."""

from __future__ import annotations

import io
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from curation.phantom.config import PhantomConfig
from curation.phantom.phantom import render_video

_LIMIT_FPS = 60.0


def _encode(planes: list[npt.NDArray[np.uint8]], width: int, height: int) -> float:
    """CPU seconds that libx264 alone takes for the same frames with the same settings."""
    start = time.process_time()
    with av.open(io.BytesIO(), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(12), options={"preset": "veryfast", "crf": "21", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.thread_count, stream.gop_size = 1, 60
        for plane in planes:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(plane, format="yuv420p")))
        container.mux(stream.encode(None))
    return time.process_time() - start


def main() -> None:
    """Render one colonoscopy and one gastroscopy at the default size and print frames a second of wall and of CPU time."""
    cv2.setNumThreads(1)
    config = PhantomConfig()
    print(f"{'procedure':<12} {'frames':>6} {'wall fps':>9} {'CPU fps':>8} {'x limit':>8} {'x264 alone fps':>15} {'of x264':>8}")
    with tempfile.TemporaryDirectory() as folder:
        # the first conversion to Arrow imports pandas, which is no part of rendering
        render_video(Path(folder) / "warm up.mp4", config=PhantomConfig(seconds=0.2), patient=0)
        for patient, name in ((0, "colonoscopy"), (1, "gastroscopy")):
            wall, cpu = time.perf_counter(), time.process_time()
            truth = render_video(Path(folder) / f"{name}.mp4", config=config, patient=patient)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            with av.open(str(truth.path)) as container:
                planes = [np.asarray(frame.to_ndarray(format="yuv420p"), dtype=np.uint8) for frame in container.decode(video=0)]
            encode = _encode(planes, truth.width, truth.height)
            count = len(planes)
            print(
                f"{name:<12} {count:>6} {count / wall:>9.1f} {count / cpu:>8.1f} {count / cpu / _LIMIT_FPS:>8.2f} "
                f"{count / encode:>15.1f} {encode / cpu:>8.2f}"
            )


if __name__ == "__main__":
    main()
