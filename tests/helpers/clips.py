"""Short clips in every format that ingest lists, written with PyAV."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np

QUIET = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"svtav1-params": "lp=1", "preset": "12"}}


@dataclass(frozen=True)
class Format:
    """A container and a codec, as FFmpeg's encoders are called."""

    suffix: str
    encoder: str
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)


FORMATS = {
    "h264-mp4": Format("mp4", "libx264", options={"bf": "2"}),
    "h264-mov": Format("mov", "libx264"),
    "h264-mkv": Format("mkv", "libx264", options={"bf": "2"}),
    "h264-avi": Format("avi", "libx264", options={"bf": "0"}),
    "h264-ts": Format("ts", "libx264"),
    "h264-10bit-mp4": Format("mp4", "libx264", "yuv420p10le"),
    "hevc-mp4": Format("mp4", "libx265"),
    "hevc-mkv": Format("mkv", "libx265"),
    "hevc-ts": Format("ts", "libx265"),
    "hevc-10bit-mp4": Format("mp4", "libx265", "yuv420p10le"),
    "mpeg2-mpg": Format("mpg", "mpeg2video", options={"bf": "2"}),
    "mpeg2-ts": Format("ts", "mpeg2video"),
    "mpeg2-mkv": Format("mkv", "mpeg2video"),
    "mpeg4-avi": Format("avi", "mpeg4"),
    "mpeg4-mp4": Format("mp4", "mpeg4", options={"bf": "2"}),
    "mjpeg-avi": Format("avi", "mjpeg", "yuvj420p"),
    "mjpeg-mov": Format("mov", "mjpeg", "yuvj420p"),
    "vp9-webm": Format("webm", "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    "vp9-mkv": Format("mkv", "libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    "av1-mp4": Format("mp4", "libsvtav1"),
    "av1-webm": Format("webm", "libsvtav1"),
    "wmv2-wmv": Format("wmv", "wmv2"),
    "wmv2-asf": Format("asf", "wmv2"),
}
"""wmv3 is decoded but has no encoder in any FFmpeg; wmv2 stands for it, in the same container."""


def moving_picture(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """Smooth blobs in the colours of tissue that drift with the number; [height, width, 3] uint8."""
    rng = np.random.default_rng(5)
    waves = cv2.resize(rng.normal(0, 1, (height // 8, width // 8)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    waves = np.roll(waves, 3 * number, axis=1)
    return np.clip(np.stack([165 + 40 * waves, 85 + 30 * waves, 65 + 25 * waves], axis=2), 0, 255).astype(np.uint8)


@contextlib.contextmanager
def own_priority() -> Iterator[None]:
    """Keep this thread's scheduling: as root, SVT-AV1 makes the encoding thread a real-time one, and so what it starts later."""
    policy = os.sched_getscheduler(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, os.sched_param(0))


def write_clip(path: Path, pictures: Sequence[np.ndarray], wanted: Format, *, fps: int = 10, gop: int = 10) -> Path:
    """One stream of video, from [height, width, 3] uint8 pictures, reproducible to the byte."""
    with own_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(wanted.encoder, rate=fps, options=QUIET.get(wanted.encoder, {}) | wanted.options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = wanted.pix_fmt
        stream.bit_rate = 1_000_000
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path
