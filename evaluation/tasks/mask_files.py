"""What a mask file holds: its values by plane, counted, as the evidence from which a set's encoding is learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from evaluation.tasks.items import Plane
from evaluation.tasks.pixels import open_file, orientation, upright

__all__ = ["FEW_VALUES", "LOSSY", "MaskFile", "levels", "look_at_mask"]

Levels = npt.NDArray[Any]
"""[H, W] values that grow from background to foreground"""

FEW_VALUES = 16
"""a lossless file with more values than this has soft edges or noise; one with fewer may number its classes"""

LOSSY = ("JPEG", "MPO", "JPEG2000", "WEBP")
"""Formats whose values are not exactly those that were written."""

_NEUTRAL = 32  # JPEG noise makes a grey picture this colourful at most
_NOISE_SHARE = 1 / 8  # of the range: values nearer to an end are that end, in files with noise
_STEP_SHARE = 1 / 64  # of the range: neighbours this near are one region
_LEAST_MIDDLE = 0.0005  # of the pixels; fewer are edges


@dataclass(frozen=True, slots=True)
class MaskFile:
    """One decoded mask file."""

    size: tuple[int, int]
    """width and height in pixels, upright"""
    format: str
    is_lossy: bool
    is_turned: bool
    """it has an EXIF orientation of its own"""
    values: Mapping[Plane, Mapping[float, int]]
    """pixels by value, in each plane that the file has"""
    border: Mapping[Plane, Mapping[float, int]]
    """the same for the outermost pixels"""
    num_middle: int
    """pixels between background and foreground"""
    num_inside: int
    """those of them whose four neighbours are equal: regions, which soft edges are not"""
    colours: Mapping[int, int] = field(default_factory=dict)
    """pixels by colour, 3 bits a channel; empty for grey files"""


def look_at_mask(path: str) -> MaskFile:
    """Count the values of a mask file.

    Raises:
        TaskError: it does not decode.
    """
    with open_file(path, "mask") as file:
        form = file.format or "unknown"
        is_lossy = form in LOSSY
        is_turned = orientation(file) != 1
        image = upright(file)
        planes = dict(_planes(image, is_lossy))
        main = next(iter(planes.values()))
        values = {plane: _counts(found) for plane, found in planes.items()}
        num_middle, num_inside = _middle(main, next(iter(values.values())), is_lossy)
        is_colour = "colour" in planes
        return MaskFile(
            size=image.size,
            format="JPEG" if form == "MPO" else form,
            is_lossy=is_lossy,
            is_turned=is_turned,
            values=values,
            border={plane: _counts(_border(found)) for plane, found in planes.items()},
            num_middle=num_middle,
            num_inside=num_inside,
            colours=_colours(_rgb(image)) if is_colour else {},
        )


def levels(image: Image.Image, plane: Plane) -> Levels:
    """The plane of an upright image, [H, W]."""
    if plane == "alpha":
        return np.asarray(image.convert("RGBA"))[..., 3] if _has_alpha(image) else np.full(image.size[::-1], 255, np.uint8)
    if plane == "grey":
        return _grey(image)
    rgb = _rgb(image)
    found: Levels = rgb.max(axis=2) if plane == "colour" else 255 - rgb.min(axis=2)
    return found


def _planes(image: Image.Image, is_lossy: bool) -> Iterator[tuple[Plane, Levels]]:
    if _is_one_channel(image):
        yield "grey", _grey(image)
        return
    rgb = _rgb(image)
    if int((rgb.max(axis=2) - rgb.min(axis=2)).max(initial=0)) < (_NEUTRAL if is_lossy else 1):
        yield "grey", rgb.max(axis=2)
    else:
        yield "colour", levels(image, "colour")
        yield "colour on white", levels(image, "colour on white")
    if _has_alpha(image):
        yield "alpha", levels(image, "alpha")


def _is_one_channel(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "F") or image.mode.startswith("I")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or (image.mode == "P" and "transparency" in image.info)


def _grey(image: Image.Image) -> Levels:
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    found: Levels = np.asarray(image) if _is_one_channel(image) else _rgb(image).max(axis=2)
    return found


def _rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """[H, W, 3]; clear pixels are black."""
    if not _has_alpha(image):
        return np.asarray(image.convert("RGB"))
    rgba = np.asarray(image.convert("RGBA"))
    composed: npt.NDArray[np.uint8] = (rgba[..., :3].astype(np.uint16) * rgba[..., 3:] // 255).astype(np.uint8)
    return composed


def _counts(found: Levels) -> dict[float, int]:
    if found.dtype.kind in "ub" and found.dtype.itemsize <= 2:
        counts = np.bincount(found.ravel())
        return {float(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, numbers = np.unique(found, return_counts=True)
    return {float(value): int(number) for value, number in zip(values, numbers, strict=True)}


def _border(found: Levels) -> Levels:
    return np.concatenate([found[0], found[-1], found[1:-1, 0], found[1:-1, -1]])


def _middle(found: Levels, counts: Mapping[float, int], is_lossy: bool) -> tuple[int, int]:
    """Pixels between the ends of a file's own range, and those of them that lie inside a region."""
    low, high = min(counts), max(counts)
    has_few = len(counts) <= FEW_VALUES and not is_lossy
    margin = 0.0 if has_few else (high - low) * _NOISE_SHARE
    number = sum(count for value, count in counts.items() if low + margin < value < high - margin)
    if number <= _LEAST_MIDDLE * found.size or min(found.shape) < 3:
        return number, 0
    values = found.astype(np.float32)
    step = 0.0 if has_few else (high - low) * _STEP_SHARE
    centre = values[1:-1, 1:-1]
    inside = (centre > low + margin) & (centre < high - margin)
    for neighbour in (values[:-2, 1:-1], values[2:, 1:-1], values[1:-1, :-2], values[1:-1, 2:]):
        inside &= np.abs(neighbour - centre) <= step
    return number, int(inside.sum())


def _colours(rgb: npt.NDArray[np.uint8]) -> dict[int, int]:
    high = (rgb >> 5).astype(np.int64)
    counts = np.bincount((high[..., 0] << 6 | high[..., 1] << 3 | high[..., 2]).ravel(), minlength=512)
    return {int(colour): int(counts[colour]) for colour in np.flatnonzero(counts)}
