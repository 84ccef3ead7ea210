"""A held-out picture in the forms in which a copy of it may lie in a pool: as ingest would store it, mirrored, cut down, or uncut.

Views are for finding copies: each is hashed and embedded as a frame is. Whether a find is a copy is decided afterwards, by the pictures
themselves (curation/holdout/verify_copy.py), so a view may find too much.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from curation.filters import FILTER_WIDTH, ContentArea, content_mask, find_content_area, inner_mask, perceptual_hash, shrink
from curation.ingest import NUM_PICTURES

__all__ = ["View", "content_of", "cut_out", "probes_of", "shared_areas", "stored_picture", "view_hash", "views_of"]

STORED_SIDE = 512
"""longest side in which a held-out picture is kept for comparison; copies are verified at half of it"""
_CROPS = ((0.125, 0.125, 0.75), (0.0, 0.0, 0.75), (0.25, 0.0, 0.75), (0.0, 0.25, 0.75), (0.25, 0.25, 0.75), (0.22, 0.22, 0.56))
_SMALL_CROPS = tuple((left, top, 0.5) for top in (0.0, 0.25, 0.5) for left in (0.0, 0.25, 0.5))
"""left, top and side, as shares of the content area's box; the small ones are for crops to half of each side and less"""
_FLIPS = {"mirrored": 1, "upside down": 0, "turned": -1}


@dataclass(frozen=True, slots=True)
class View:
    """One form of a held-out picture."""

    name: str
    """content, mirrored, upside down, turned, crop, shared or whole"""
    rgb: np.ndarray
    """[height, width, 3] uint8, black outside the content area"""
    mask: np.ndarray
    """[height, width] uint8, 0 where nothing is to be seen"""

    @property
    def flip(self) -> int | None:
        """OpenCV's code of the flip that made it of the picture; None where it was not flipped."""
        return _FLIPS.get(self.name)


def stored_picture(rgb: np.ndarray) -> np.ndarray:
    """A [height, width, 3] uint8 picture, scaled down to `STORED_SIDE` where it is larger."""
    scale = STORED_SIDE / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    return shrink(rgb, max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))


def shared_areas(pictures: Sequence[np.ndarray]) -> dict[tuple[int, ...], ContentArea]:
    """By shape, the content area that ingest would find for the pictures as one folder, or as the frames of one video.

    A dull picture alone seems to have a smaller one, and a copy cut otherwise has another hash and another embedding.
    """
    by_shape: dict[tuple[int, ...], list[np.ndarray]] = defaultdict(list)
    for rgb in pictures:
        by_shape[rgb.shape].append(rgb)
    return {shape: find_content_area(alike[:: -(-len(alike) // NUM_PICTURES)]) for shape, alike in by_shape.items()}


def views_of(rgb: np.ndarray, shared: ContentArea | None = None) -> list[View]:
    """The content area as found in the picture alone, three flips and fifteen parts of it, and if they differ the shared and the whole.

    Args:
        rgb: [height, width, 3] uint8.
        shared: the content area of the pictures that it belongs to.
    """
    height, width = rgb.shape[:2]
    area = find_content_area([rgb])
    content = cut_out(rgb, area)
    views = [content]
    views += [
        View(name, np.asarray(cv2.flip(content.rgb, code)), np.asarray(cv2.flip(content.mask, code))) for name, code in _FLIPS.items()
    ]
    for left, top, side in (*_CROPS, *_SMALL_CROPS):
        rows = slice(round(top * area.height), max(round(top * area.height) + 1, round((top + side) * area.height)))
        columns = slice(round(left * area.width), max(round(left * area.width) + 1, round((left + side) * area.width)))
        views.append(View("crop", np.ascontiguousarray(content.rgb[rows, columns]), np.ascontiguousarray(content.mask[rows, columns])))
    if shared is not None and shared != area and shared.shape != "full":
        views.append(cut_out(rgb, shared, "shared"))
    if (area.width, area.height) != (width, height):
        views.append(View("whole", rgb, np.full((height, width), 255, np.uint8)))
    return views


def content_of(rgb: np.ndarray) -> View:
    """The content area as found in the picture alone, the first of `views_of`."""
    return cut_out(rgb, find_content_area([rgb]))


def cut_out(rgb: np.ndarray, area: ContentArea, name: str = "content") -> View:
    """The content area of a [height, width, 3] picture as ingest stores it."""
    crop = rgb[area.y : area.y + area.height, area.x : area.x + area.width]
    mask = content_mask(area, crop.shape[:2])
    return View(name, np.asarray(cv2.bitwise_and(crop, crop, mask=mask)), mask)


def view_hash(view: View) -> int:
    """The perceptual hash that ingest gives such a picture: at the filters' width, without what is outside the content area."""
    height, width = view.rgb.shape[:2]
    size = FILTER_WIDTH, max(1, round(FILTER_WIDTH * height / width))
    mask = inner_mask(np.asarray(cv2.resize(view.mask, size, interpolation=cv2.INTER_NEAREST)))
    gray = cv2.cvtColor(shrink(view.rgb, *size), cv2.COLOR_RGB2GRAY)
    return perceptual_hash(gray, mask if cv2.countNonZero(mask) else np.full_like(mask, 255))


def probes_of(view: View, *, rng: np.random.Generator) -> list[np.ndarray]:
    """Copies of a view of the kind that must be found, by which the similarity is calibrated from which a find is looked at.

    Compressed hard at half the size, cut down to a random part of 85% of each side and brightened, turned by 5 degrees and darkened,
    and with two fields of text blacked out.
    """
    rgb = view.rgb
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 40])
    top, left = (int(rng.integers(0, max(1, round(0.15 * side)))) for side in (height, width))
    cut = rgb[top : top + max(1, round(0.85 * height)), left : left + max(1, round(0.85 * width))]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 5, 1)
    hidden = rgb.copy()
    hidden[round(0.75 * height) : round(0.83 * height), round(0.05 * width) : round(0.35 * width)] = 0
    hidden[round(0.1 * height) : round(0.16 * height), round(0.68 * width) : round(0.95 * width)] = 0
    return [
        np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR)),
        cv2.convertScaleAbs(cut, alpha=1.25, beta=10),
        cv2.convertScaleAbs(cv2.warpAffine(rgb, turn, (width, height)), alpha=0.7),
        hidden,
    ]
