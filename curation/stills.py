"""The images of a folder as a video of stills: nothing ties one to the next, and each may have a size of its own.

A folder stays one video whatever sizes it holds: a content area is found for each size, so that no image is scaled to another's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import PIL
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from curation.config import IngestConfig
from curation.container import UnreadableVideo, VideoProbe
from curation.content_area import ContentArea, find_content_area
from curation.sampling import MAX_MESSAGES, DecodeReport, SampledFrame
from curation.scan import Scan, measured

__all__ = ["scan_stills"]

Image.MAX_IMAGE_PIXELS = None  # the configured limit is checked before anything is decoded
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_DAMAGE = (OSError, ValueError, SyntaxError, ArithmeticError, LookupError, MemoryError)
"""what Pillow raises for damaged images; SyntaxError among them, for broken PNG"""
_OVERVIEW_FRAMES, _OVERVIEW_SIDE = 8, 480
_PTS_STEP_US = 1_000_000

Size = tuple[int, int]


def scan_stills(images: Sequence[Path], config: IngestConfig, spool: IO[bytes]) -> Scan:
    """Measure and spool every image; every page of one that has several.

    Orientation is applied; nothing else of the metadata is read. An image that cannot be read is named by its number, never by its name.

    Raises:
        UnreadableVideo: no image can be read.
        OSError: the spool cannot be written.
    """
    report = DecodeReport(decoder="Pillow", decoder_version=PIL.__version__)
    damage: dict[int, str] = {}
    sizes: dict[Size, list[int]] = defaultdict(list)
    formats: set[str] = set()
    for number, path in enumerate(images):
        try:
            with Image.open(path) as image:
                _refuse(image, config)
                sizes[_upright_size(image)].append(number)
                formats.add(str(image.format).lower())
        except _DAMAGE as error:
            damage[number] = _reason(error)
    areas = {size: _find_area([images[number] for number in numbers], size) for size, numbers in sizes.items()}

    def area_of(frame: SampledFrame) -> ContentArea:
        size = frame.rgb.shape[1], frame.rgb.shape[0]
        return areas.get(size) or find_content_area([frame.rgb])  # a further page may have a size of its own

    readable = [number for number in range(len(images)) if number not in damage]
    frames = _frames(images, readable, config, report, damage)
    samples = measured(frames, area_of, config, spool, in_time=False)
    _report_damage(damage, len(images), report)
    if not samples:
        raise UnreadableVideo("undecodable", "; ".join(["no image could be read", *report.problems]))
    commonest = max(sizes, key=lambda size: len(sizes[size]))
    header = VideoProbe(
        container="stills",
        codec=",".join(sorted(formats)),
        width=commonest[0],
        height=commonest[1],
        fps=0.0,
        duration_s=0.0,
        num_frames_declared=len(images),
    )
    return Scan(header, areas[commonest], samples, report, in_time=False)


def _frames(
    images: Sequence[Path], numbers: Sequence[int], config: IngestConfig, report: DecodeReport, damage: dict[int, str]
) -> Iterator[SampledFrame]:
    """A second apart, so that an image's place in the folder can be told from its time."""
    further = len(images)
    for number in numbers:
        try:
            with Image.open(images[number]) as image:
                for page_number, page in enumerate(ImageSequence.Iterator(image)):
                    _refuse(page, config)
                    position, further = (further, further + 1) if page_number else (number, further)
                    rgb = _rgb(page)
                    report.num_frames_decoded += 1
                    yield SampledFrame(frame_index=position, pts_us=position * _PTS_STEP_US, rgb=rgb)
        except _DAMAGE as error:
            damage[number] = _reason(error)


def _find_area(images: Sequence[Path], size: Size) -> ContentArea:
    step = max(1, len(images) // _OVERVIEW_FRAMES)
    pictures = []
    for path in images[::step][:_OVERVIEW_FRAMES]:
        try:
            with Image.open(path) as image:
                scale = min(1.0, _OVERVIEW_SIDE / max(size))
                small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
                pictures.append(np.asarray(Image.fromarray(_rgb(image)).resize(small, Image.Resampling.BOX)))
        except _DAMAGE:  # it is reported when it is its turn
            continue
    if not pictures:
        return ContentArea(x=0, y=0, width=size[0], height=size[1], shape="full")
    return find_content_area(pictures, size=size)


def _refuse(image: Image.Image, config: IngestConfig) -> None:
    if image.width * image.height > config.max_pixels:
        raise ValueError(f"{image.width}x{image.height} exceeds max_pixels={config.max_pixels}")
    if image.mode not in _MODES and not image.mode.startswith("I;16"):
        raise ValueError(f"pixels of kind {image.mode} are no picture")


def _upright_size(image: Image.Image) -> Size:
    return (image.height, image.width) if image.getexif().get(0x0112, 1) >= 5 else image.size  # orientations from 5 swap the sides


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        image = Image.fromarray(gray)
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def _reason(error: BaseException) -> str:
    """Why an image cannot be read; Pillow's own message where it names no file."""
    if isinstance(error, UnidentifiedImageError):
        return "no image"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__


def _report_damage(damage: dict[int, str], num_images: int, report: DecodeReport) -> None:
    if damage:
        report.num_frames_corrupt = len(damage)
        shown = "; ".join(f"image {number + 1}: {reason}" for number, reason in list(sorted(damage.items()))[:MAX_MESSAGES])
        report.problems.append(f"{len(damage)} of {num_images} images cannot be read: {shown}")
