"""Whether this machine's decoders decode: a small clip of each common codec is written and read back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from curation.video.container import UnreadableVideo
from curation.video.packet_index import index_packets
from curation.video.reader import sample_frames
from curation.video.sampling import Decoder, DecodeReport

__all__ = ["DecoderCheck", "check_decoders"]

_ENCODERS = {"h264": ("libx264", "mp4"), "hevc": ("libx265", "mp4"), "mpeg2": ("mpeg2video", "mpg"), "mpeg4": ("mpeg4", "avi")}
_DECODERS: tuple[Decoder, ...] = ("decord", "pyav")
_NUM_FRAMES, _SIDE = 8, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderCheck:
    """What one decoder made of the clips."""

    decoder: str
    version: str
    codecs: tuple[str, ...]
    """those it decoded"""
    problems: tuple[str, ...]
    """one for each codec it did not"""


def check_decoders() -> Iterator[DecoderCheck]:
    """Decode a clip of every codec that PyAV's FFmpeg can write, with decord and with PyAV."""
    with tempfile.TemporaryDirectory() as folder:
        clips = {codec: Path(folder) / f"{codec}.{suffix}" for codec, (_, suffix) in _ENCODERS.items()}
        clips = {codec: path for codec, path in clips.items() if _write_clip(path, _ENCODERS[codec][0])}
        for decoder in _DECODERS:
            # program streams have no index that decord could be trusted with: ingest reads them with PyAV
            results = {codec: _decode(path, decoder) for codec, path in clips.items() if decoder == "pyav" or codec != "mpeg2"}
            yield DecoderCheck(
                decoder=decoder,
                version=next((version for version, _ in results.values() if version), "of no known version"),
                codecs=tuple(codec for codec, (_, problem) in results.items() if problem is None),
                problems=tuple(f"{codec}: {problem}" for codec, (_, problem) in results.items() if problem is not None),
            )


def _write_clip(path: Path, encoder: str) -> bool:
    """Write a moving gradient; False where this FFmpeg has no such encoder."""
    if encoder not in av.codecs_available:
        return False
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25)
        assert isinstance(stream, VideoStream), "every encoder here makes video"
        stream.width = stream.height = _SIDE
        stream.pix_fmt = "yuv420p"
        if encoder == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        ramp = np.arange(_SIDE, dtype=np.uint8)
        for number in range(_NUM_FRAMES):
            picture = np.broadcast_to((ramp * 3 + 8 * number)[None, :, None], (_SIDE, _SIDE, 3))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    return True


def _decode(path: Path, decoder: Decoder) -> tuple[str, str | None]:
    """The decoder's version, and what went wrong."""
    report = DecodeReport()
    try:
        frames = sample_frames(str(path), fps=0, decoder=decoder, report=report, index=index_packets(str(path)))
        num_frames = sum(1 for _ in frames)
    except (UnreadableVideo, ImportError, OSError, RuntimeError, ValueError) as error:
        return report.decoder_version, f"{type(error).__name__}: {error}"
    return report.decoder_version, None if num_frames == _NUM_FRAMES else f"{num_frames} of {_NUM_FRAMES} frames"
