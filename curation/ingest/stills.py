"""The images of a folder as a video of stills: nothing ties one to the next, and each may have a size of its own.

A folder stays one video whatever sizes it holds: each size is surveyed and measured for itself, so that no image is scaled to another's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from curation.ingest.config import IngestConfig
from curation.ingest.scan import Sample, Scan, measured
from curation.ingest.still_damage import damage_in
from curation.ingest.survey import NUM_PICTURES, PICTURE_SIDE, survey_pictures
from curation.sources import source_file
from curation.video import MAX_MESSAGES, DecodeReport, SampledFrame, UnreadableVideo, VideoProbe, shrunk_size

__all__ = ["GreyReader", "Page", "high_byte", "holds_sixteen_bits", "pages_of", "read_page", "read_still", "scan_stills"]

Image.MAX_IMAGE_PIXELS = None  # the configured limit is checked before anything is decoded
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_DAMAGE = (OSError, ValueError, SyntaxError, ArithmeticError, LookupError, MemoryError)
"""what Pillow raises for damaged images; SyntaxError among them, for broken PNG"""
_PTS_STEP_US = 1_000_000
_ANIMATED = ("PNG", "WEBP", "GIF", "AVIF")
"""formats whose further pages are frames of an animation"""
_ANIMATION = "an animation, which is no still; convert it to a video"

Size = tuple[int, int]

GreyReader = Callable[[Image.Image, str], Image.Image]
"""an opened grey image of 16 bits and its name, to 8 bits"""


def high_byte(image: Image.Image, _: str) -> Image.Image:
    """A grey image of 16 bits by its upper 8, as ingest stores it."""
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


class Page(NamedTuple):
    """One picture of one image."""

    position: int
    """the image's number; further pages follow after all images"""
    image: int
    page: int


def scan_stills(images: Sequence[Path], config: IngestConfig, spool: IO[bytes], grey: GreyReader = high_byte) -> Scan:
    """Measure and spool every image; every page of one that has several. Samples are a second apart, in the order of the images.

    Orientation is applied; nothing else of the metadata is read. In messages a damaged image has its number and not its name, which may
    be a patient's; the lake's table damaged_images has its place. What could be read of it is a corrupt frame.

    Raises:
        UnreadableVideo: no image can be read.
        LeftForLater: the file system withheld an image; without it the folder would be another video.
        OSError: the spool cannot be written.
    """
    report = DecodeReport(decoder="Pillow", decoder_version=PIL.__version__)
    damage: dict[int, str] = {}
    formats: set[str] = set()
    by_size = _pages_by_size(images, config, damage, formats)
    samples: list[Sample] = []
    areas = {}
    for size, pages in by_size.items():
        survey = survey_pictures(_pictures(images, pages, size, grey), size, config, in_time=False)
        areas[size] = survey.geometry.area
        samples += measured(_frames(images, pages, report, damage, grey), survey, config, spool, report, in_time=False)
    if damage:
        report.num_frames_corrupt = len(damage)
        shown = "; ".join(f"image {number + 1}: {reason}" for number, reason in sorted(damage.items())[:MAX_MESSAGES])
        named = "" if len(images) == 1 else " (the table damaged_images names them all)"
        report.problems.append(f"{len(damage)} of {len(images)} images cannot be read or are damaged{named}: {shown}")
    if not samples:
        reason = "not_a_video" if set(damage.values()) == {_ANIMATION} else "undecodable"
        raise UnreadableVideo(reason, "; ".join(["no image could be read", *report.problems]))
    commonest = max(by_size, key=lambda size: len(by_size[size]))
    header = VideoProbe(
        container="stills",
        codec=",".join(sorted(formats)),
        width=commonest[0],
        height=commonest[1],
        sample_aspect_ratio=1.0,
        fps=0.0,
        duration_s=0.0,
        num_frames_declared=len(images),
    )
    samples.sort(key=lambda sample: sample.frame_index)
    return Scan(header, areas[commonest], samples, report, in_time=False, damaged_images=damage)


def _pages_by_size(images: Sequence[Path], config: IngestConfig, damage: dict[int, str], formats: set[str]) -> dict[Size, list[Page]]:
    """From the headers alone."""
    by_size: dict[Size, list[Page]] = defaultdict(list)
    num_further = 0
    for number, path in enumerate(images):
        try:
            with source_file(str(path)) as file, Image.open(file) as image:
                if image.format in _ANIMATED and getattr(image, "is_animated", False):
                    raise ValueError(_ANIMATION)
                formats.add(str(image.format).lower())
                for page in range(getattr(image, "n_frames", 1)):
                    image.seek(page)
                    _refuse(image, config)
                    position = len(images) + num_further if page else number
                    by_size[_upright_size(image)].append(Page(position, number, page))
                    num_further += page > 0
        except _DAMAGE as error:
            damage[number] = _reason(error)
    return by_size


def _frames(
    images: Sequence[Path], pages: Sequence[Page], report: DecodeReport, damage: dict[int, str], grey: GreyReader
) -> Iterator[SampledFrame]:
    for page in pages:
        try:
            rgb = _read(images, page, grey)
            fault = _fault(images[page.image])
        except _DAMAGE as error:
            damage[page.image] = _reason(error)
            continue
        if fault:
            damage[page.image] = fault
        report.num_frames_decoded += 1
        yield SampledFrame(frame_index=page.position, pts_us=page.position * _PTS_STEP_US, rgb=rgb, is_corrupt=fault is not None)


def _pictures(images: Sequence[Path], pages: Sequence[Page], size: Size, grey: GreyReader) -> list[np.ndarray]:
    """Some of them, spread over the folder and scaled down."""
    small = shrunk_size(size, PICTURE_SIDE)
    pictures = []
    for page in pages[:: -(-len(pages) // NUM_PICTURES)]:
        try:
            if _fault(images[page.image]):
                continue  # what is torn says nothing of the content area
            pictures.append(np.array(Image.fromarray(_read(images, page, grey)).resize(small, Image.Resampling.BOX)))
        except _DAMAGE:  # it is reported when it is its turn
            continue
    return pictures


def pages_of(images: Sequence[Path], config: IngestConfig) -> tuple[Page, ...]:
    """Every page of every image, in the order of their positions, which are the frame numbers of `scan_stills`; damaged images have none.

    Raises:
        LeftForLater: the file system withheld an image.
    """
    return tuple(sorted(page for pages in _pages_by_size(images, config, {}, set()).values() for page in pages))


def holds_sixteen_bits(images: Sequence[Path]) -> bool:
    """Whether one of the images, by its header, is grey with 16 bits; those that cannot be read are passed over."""
    for path in images:
        try:
            with source_file(str(path)) as file, Image.open(file) as image:
                if image.mode.startswith("I;16"):
                    return True
        except _DAMAGE:
            continue
    return False


def read_page(images: Sequence[Path], page: Page, grey: GreyReader = high_byte) -> np.ndarray:
    """A page as [height, width, 3] uint8, upright, read as `scan_stills` reads it with the same `grey`.

    Raises:
        ValueError: it cannot be read.
        LeftForLater: the file system withheld it.
    """
    try:
        return _read(images, page, grey)
    except _DAMAGE as error:
        raise ValueError(_reason(error)) from error


def read_still(path: Path, config: IngestConfig) -> np.ndarray:
    """The first page of an image as [height, width, 3] uint8, upright, read as `scan_stills` reads it.

    Raises:
        ValueError: it cannot be read, or is larger than the limit.
    """
    try:
        with source_file(str(path)) as file, Image.open(file) as image:
            _refuse(image, config)
        return _read([path], Page(0, 0, 0), high_byte)
    except _DAMAGE as error:
        raise ValueError(_reason(error)) from error


def _read(images: Sequence[Path], page: Page, grey: GreyReader) -> np.ndarray:
    """[height, width, 3] uint8, upright."""
    with source_file(str(images[page.image])) as file, Image.open(file) as image:
        image.seek(page.page)
        picture: Image.Image = image
        if image.mode.startswith("I;16"):
            picture = grey(image, str(images[page.image]))
            picture.getexif().update(image.getexif())
        return np.array(ImageOps.exif_transpose(picture).convert("RGB"))


def _fault(path: Path) -> str | None:
    """What shows that an image is damaged though it can be decoded."""
    with source_file(str(path)) as file:
        return damage_in(file.read())


def _refuse(image: Image.Image, config: IngestConfig) -> None:
    if image.width * image.height > config.max_pixels:
        raise ValueError(f"{image.width}x{image.height} exceeds max_pixels={config.max_pixels}")
    if image.mode not in _MODES and not image.mode.startswith("I;16"):
        raise ValueError(f"pixels of kind {image.mode} are no picture")


def _upright_size(image: Image.Image) -> Size:
    return (image.height, image.width) if image.getexif().get(0x0112, 1) >= 5 else image.size  # orientations from 5 swap the sides


def _reason(error: BaseException) -> str:
    """Why an image cannot be read; Pillow's own message where it names no file."""
    if isinstance(error, UnidentifiedImageError):
        return "no image"
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
