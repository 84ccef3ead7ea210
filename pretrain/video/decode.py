"""Frames of the clips that curation wrote: MP4 of constant rate, whose frames are numbered by their order alone.

No user's video is read here: its presentation times may mean anything, while those of a clip were made and verified by curation.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

__all__ = ["ClipError", "ClipHeader", "clip_header", "decoded_frames"]

Pixels = NDArray[np.uint8]


class ClipError(ValueError):
    """Bytes that are no clip, or one that ends before it should; the message says what is wrong."""


class ClipHeader(NamedTuple):
    """What a clip's container says."""

    num_frames: int
    fps: float
    width: int
    height: int


def clip_header(data: bytes) -> ClipHeader:
    """Frames, rate and size of a clip, without decoding any.

    Raises:
        ClipError: it is no video, or does not say.
    """
    with _opened(data) as (_, stream):
        rate = stream.average_rate
        if not stream.frames or not rate:
            raise ClipError("the clip does not say how many frames it has, and at which rate")
        return ClipHeader(int(stream.frames), float(rate), int(stream.codec_context.width), int(stream.codec_context.height))


def decoded_frames(data: bytes, indices: Sequence[int]) -> dict[int, Pixels]:
    """Some frames of a clip, (height, width, 3) RGB by their index; frames after the last one are not decoded, others not converted.

    Raises:
        ClipError: it cannot be decoded, has fewer frames, or changes its size.
    """
    wanted = set(indices)
    found: dict[int, Pixels] = {}
    size: tuple[int, ...] | None = None
    with _opened(data) as (container, stream):
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                pixels = np.asarray(frame.to_ndarray(format="rgb24", threads=1), np.uint8)
                size = size or pixels.shape[:2]
                if pixels.shape[:2] != size:
                    raise ClipError(f"frame {index} is {pixels.shape[1]}x{pixels.shape[0]} and the first was {size[1]}x{size[0]}")
                found[index] = pixels
                if len(found) == len(wanted):
                    break
    if len(found) < len(wanted):
        raise ClipError(f"the clip ends before frame {min(wanted - found.keys())}")
    return found


@contextmanager
def _opened(data: bytes) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    import av  # who trains on images alone may lack it

    try:
        with av.open(io.BytesIO(data), mode="r") as container:
            if not container.streams.video:
                raise ClipError("the file has no video")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # loader processes are the parallelism
            yield container, stream
    except (av.FFmpegError, EOFError) as error:
        raise ClipError(f"the clip cannot be decoded ({error})") from None
