"""Pictures as a player shows them: turned and mirrored as the display matrix says, with square pixels."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

__all__ = ["aspect_note", "current_aspect", "is_as_coded", "pixel_aspect", "shown", "shrunk", "shrunk_size", "upright"]

_NEARLY_SQUARE = Fraction(1, 100)
_WIDEST = 4
"""a pixel that is longer by more is taken for damage"""
_IDENTITY = (1, 0, 0, 1)

Matrix = tuple[int, int, int, int]
"""a, b, c, d: a point (x, y) of the coded picture is shown at (a x + c y, b x + d y); all are -1, 0 or 1"""


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a pixel by its height; 1 if it is square within 1%, unknown or absurd."""
    return _sound_aspect(stream.sample_aspect_ratio)


def current_aspect(stream: VideoStream, first: Fraction, size: tuple[int, int], frame: VideoFrame) -> Fraction:
    """The same for a frame: `first` while frames have the `size` of the header, else what the decoder read last."""
    return first if (frame.width, frame.height) == size else _sound_aspect(stream.codec_context.sample_aspect_ratio)


def _sound_aspect(ratio: Fraction | None) -> Fraction:
    if not ratio or abs(ratio - 1) <= _NEARLY_SQUARE or not Fraction(1, _WIDEST) <= ratio <= _WIDEST:
        return Fraction(1)
    return Fraction(ratio)


def aspect_note(stream: VideoStream) -> str | None:
    """What is done to pixels that are not square."""
    ratio = pixel_aspect(stream)
    if ratio == 1:
        return None
    return f"the pixels are not square ({ratio.numerator}:{ratio.denominator}), and were stretched to squares"


def is_as_coded(frame: VideoFrame) -> bool:
    """Whether the display matrix, if there is one, changes nothing."""
    return _display_matrix(frame) == _IDENTITY


# Frames are converted in one thread: each core has a worker of its own, and the scaler would start and end threads for every frame.
def shown(frame: VideoFrame, aspect: Fraction) -> np.ndarray:
    """The frame as [height, width, 3] uint8 RGB, upright, with square pixels; the longer side of a pixel is kept."""
    width, height = _squared(frame, aspect)
    if (width, height) != (frame.width, frame.height):
        picture = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC", threads=1)
        return upright(picture.to_ndarray(), _display_matrix(frame))
    return upright(frame.to_ndarray(format="rgb24", threads=1), _display_matrix(frame))


def shrunk(frame: VideoFrame, aspect: Fraction, max_side: int) -> np.ndarray:
    """The same, scaled down to at most `max_side`."""
    width, height = shrunk_size(_squared(frame, aspect), max_side)
    picture = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA", threads=1)
    return upright(picture.to_ndarray(), _display_matrix(frame))


def shrunk_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Width and height scaled down to at most `max_side`."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _squared(frame: VideoFrame, aspect: Fraction) -> tuple[int, int]:
    return (round(frame.width * aspect), frame.height) if aspect >= 1 else (frame.width, round(frame.height / aspect))


def upright(rgb: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Apply one of the eight display matrices to [height, width, channels]."""
    a, b, c, d = matrix
    across, down = (a, d) if a else (c, b)
    turned = rgb if a else rgb.transpose(1, 0, 2)
    return np.ascontiguousarray(turned[::down, ::across])


def _display_matrix(frame: VideoFrame) -> Matrix:
    """The frame's matrix, rounded to one of eight: quarter turns, mirrored or not. Their sizes and offsets say nothing of the picture."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data of a kind that PyAV does not know
        data = None
    if not isinstance(data, Buffer):
        return _IDENTITY
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (-1 if a < 0 else 1, 0, 0, -1 if d < 0 else 1)
    return (0, -1 if b < 0 else 1, -1 if c < 0 else 1, 0)
