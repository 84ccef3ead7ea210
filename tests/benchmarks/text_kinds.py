"""Kinds of burned-in text: other typefaces, outlines, moving lines, a running clock, other scripts; drawn into frames with Pillow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["KINDS", "Kind", "with_text"]

PATIENT = ("MUELLER, ANNA", "12/03/1958 F 67", "ID 4711-0815")
Lines = list[tuple[int, int, int, int]]


class Kind(NamedTuple):
    """A way of writing."""

    words: tuple[str, ...] = PATIENT
    typeface: str = "DejaVuSans.ttf"
    """file name of an installed TrueType font"""
    size: int = 14
    """pixels"""
    border: int = 0
    """pixels around each letter"""
    border_color: tuple[int, int, int] = (0, 0, 0)
    is_hollow: bool = False
    """only the border is drawn"""
    speed: int = 0
    """pixels a frame to the left"""


KINDS = {
    "DejaVu Sans": Kind(),
    "DejaVu Sans Bold": Kind(typeface="DejaVuSans-Bold.ttf"),
    "DejaVu Sans Mono": Kind(typeface="DejaVuSansMono.ttf"),
    "DejaVu Serif": Kind(typeface="DejaVuSerif.ttf"),
    "Liberation Serif, italic": Kind(typeface="LiberationSerif-Italic.ttf"),
    "black-bordered": Kind(border=1),
    "outlined, hollow": Kind(border=1, border_color=(255, 255, 255), is_hollow=True, size=18),
    "running clock": Kind(words=("2021-04-09", "{clock}")),
    "running clock alone": Kind(words=("{clock}",)),
    "scrolling, 30 pixels a second": Kind(words=("PATIENT MUELLER, ANNA 12/03/1958 ID 4711-0815",), speed=6),
    "scrolling, 100 pixels a second": Kind(words=("PATIENT MUELLER, ANNA 12/03/1958 ID 4711-0815",), speed=20),
    "Cyrillic": Kind(words=("ИВАНОВА, АННА", "Дата рождения", "Больница № 7")),  # noqa: RUF001
    "Cyrillic, one line": Kind(words=("Дата рождения",)),
    "Greek": Kind(words=("ΠΑΠΑΔΟΠΟΥΛΟΥ", "Ημερομηνία", "Νοσοκομείο")),
    "Arabic": Kind(words=("فاطمة الزهراء", "تاريخ الميلاد", "مستشفى")),
    "Hebrew": Kind(words=("כהן, רחל", "תאריך לידה", "בית חולים")),
    "Hebrew, short words": Kind(words=("שם", "M", "גיל")),
    "Chinese characters and kana": Kind(words=("山田 花子", "生年月日 昭和", "内視鏡センター"), typeface="ipaexg.ttf", size=16),
}


def with_text(frame: np.ndarray, kind: Kind, number: int, rate: int) -> tuple[np.ndarray, Lines]:
    """The frame with the text as it stands in frame `number`, and its lines' boxes as left, top, right, bottom.

    Args:
        frame: [height, width, 3] uint8 RGB.
        kind: how to write.
        number: of the frame in its video.
        rate: frames per second.

    Raises:
        OSError: the typeface is not installed.
    """
    font = ImageFont.truetype(kind.typeface, kind.size)
    height, width = frame.shape[:2]
    fill, border = Image.new("L", (width, height), 0), Image.new("L", (width, height), 0)
    seconds = number / rate
    lines: Lines = []
    for row, words in enumerate(kind.words):
        place = (round(0.18 * width) - kind.speed * number, round((0.2 * height) + 1.5 * kind.size * row))
        words = words.format(clock=f"10:33:{int(seconds) % 60:02d}.{int(seconds * 10) % 10}")
        ImageDraw.Draw(border).text(place, words, font=font, fill=255, stroke_width=kind.border)
        ImageDraw.Draw(fill).text(place, words, font=font, fill=255)
        left, top, right, bottom = (int(side) for side in ImageDraw.Draw(fill).textbbox(place, words, font=font))
        box = max(0, left), max(0, top), min(width, right), min(height, bottom)
        if box[2] - box[0] > kind.size:
            lines.append(box)
    letters, around = (np.asarray(layer, np.float32)[..., None] / 255 for layer in (fill, border))
    written = frame + around * (np.array(kind.border_color, np.float32) - frame)
    written += letters * ((frame if kind.is_hollow else np.float32(255)) - written)
    return np.clip(written, 0, 255).astype(np.uint8), lines
