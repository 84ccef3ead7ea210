"""The packets of one stream, read to the end of the file whatever else the file holds."""

from __future__ import annotations

from collections.abc import Iterator

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

__all__ = ["stream_packets"]

_MAX_ERRORS = 16


def stream_packets(container: InputContainer, stream: VideoStream, errors: list[str]) -> Iterator[Packet[VideoStream]]:
    """Yield every packet that holds data, in the order of the file; the empty packet that drains the decoder is left out.

    PyAV 18 knows only the streams that were there when the file was opened. At the end of a file where others appeared later (MPEG-TS and
    MPEG-PS), it raises IndexError: by then all packets have been read. An error of the demuxer ends in `errors`, and reading goes on
    behind it unless it follows the last one directly.
    """
    while True:
        num_read = 0
        try:
            for packet in container.demux(stream):
                if packet.size:
                    num_read += 1
                    yield packet
            return
        except IndexError:
            return
        except FFmpegError as failure:
            errors.append(failure.strerror or str(failure))  # the whole message holds the path, which may be a temporary one
            if not num_read or len(errors) >= _MAX_ERRORS:
                return
