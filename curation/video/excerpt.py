"""A piece of a video, copied packet by packet without decoding: what `endoforge plan` ingests to see how fast that goes."""

from __future__ import annotations

from pathlib import Path

import av
from av.error import FFmpegError

from curation.video.container import opened

__all__ = ["cut_excerpt"]


def cut_excerpt(path: str, out: Path, *, start_s: float, length_s: float) -> float:
    """Copy the packets from the last keyframe before a moment on into a Matroska file.

    Args:
        path: of the video.
        out: file to write.
        start_s: where the piece begins, in seconds.
        length_s: seconds to copy; less if the video ends before.

    Returns:
        Seconds that were copied; 0 if this stream cannot be copied.

    Raises:
        UnreadableVideo: the file cannot be opened.
    """
    first = last = None
    with opened(path) as (container, stream):
        if stream.time_base is None:
            return 0.0
        try:
            with av.open(str(out), "w", format="matroska") as copy:
                track = copy.add_stream_from_template(stream)
                if start_s > 0:
                    container.seek(round((start_s + (stream.start_time or 0) * stream.time_base) / stream.time_base), stream=stream)
                for packet in container.demux(stream):
                    if packet.dts is None or (first is None and not packet.is_keyframe):
                        continue
                    first = packet.dts if first is None else first
                    if (packet.dts - first) * stream.time_base > length_s:
                        break
                    last = packet.dts + (packet.duration or 0)
                    packet.stream = track
                    copy.mux(packet)
        except (FFmpegError, ValueError):  # a codec that Matroska cannot hold, or packets out of order
            return 0.0
        return float((last - first) * stream.time_base) if first is not None and last is not None else 0.0
