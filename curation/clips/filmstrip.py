"""Clips for a person to look at: a contact sheet with one row a clip, or one picture of many frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from curation.filters import shrink
from curation.packs import read_frame
from curation.video import decode_clip
from warehouse.store import atomic_file

__all__ = ["Strip", "clip_picture", "write_filmstrip"]

_HEIGHT = 96
_LABEL_HEIGHT = 16
_COLUMNS = 8
_PICTURE_COLUMNS, _PICTURE_ROWS, _PICTURE_HEIGHT = 5, 5, 160
_WIDEST = 2.0
"""greatest width of a frame, in its heights; wider ones are shown smaller"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One clip to show."""

    label: str
    pack_path: str
    """below the lake's root"""
    byte_offset: int
    byte_size: int
    num_frames: int


def write_filmstrip(strips: Sequence[Strip], path: Path, *, lake_root: Path) -> None:
    """Write the sheet as a JPEG, atomically.

    Raises:
        ValueError: there is no strip, or one is no clip.
    """
    if not strips:
        raise ValueError("a filmstrip of no clip was asked for; give at least one")
    rows = [_row(strip, read_frame(lake_root / strip.pack_path, strip.byte_offset, strip.byte_size)) for strip in strips]
    width = max(row.shape[1] for row in rows)
    sheet = np.concatenate([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows])
    with atomic_file(path) as file:
        file.write(_jpeg(sheet))


def clip_picture(content: bytes, num_frames: int) -> bytes:
    """A JPEG of 25 frames of an MP4 of `num_frames`, spread over its time, row by row; a shorter clip shows some twice.

    Raises:
        ValueError: it is no clip.
    """
    frames = _spread(content, num_frames, _PICTURE_COLUMNS * _PICTURE_ROWS, height=_PICTURE_HEIGHT)
    rows = [np.concatenate(frames[first : first + _PICTURE_COLUMNS], axis=1) for first in range(0, len(frames), _PICTURE_COLUMNS)]
    return _jpeg(np.concatenate(rows))


def _row(strip: Strip, content: bytes) -> np.ndarray:
    row = np.concatenate(_spread(content, strip.num_frames, _COLUMNS), axis=1)
    label = np.full((_LABEL_HEIGHT, row.shape[1], 3), 255, np.uint8)
    cv2.putText(label, strip.label, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([label, row])


def _spread(content: bytes, num_frames: int, count: int, *, height: int = _HEIGHT) -> list[np.ndarray]:
    """So many frames of a clip, spread over its time, at that height with a white line at the right."""
    wanted = np.linspace(0, num_frames - 1, count).round().astype(int).tolist()
    frames = decode_clip(content, wanted)
    tall, wide = frames[0].shape[:2]
    shown = (min(round(height * wide / tall), round(_WIDEST * height)), height)
    return [np.pad(shrink(frame, *shown), ((0, 0), (0, 2), (0, 0)), constant_values=255) for frame in frames]


def _jpeg(picture: np.ndarray) -> bytes:
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return bytes(jpeg)
