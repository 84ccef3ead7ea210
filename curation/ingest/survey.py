"""What is constant in a video, found from pictures spread over it before it is decoded: its content area, insets and standing text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from curation.filters import FILTER_WIDTH, ContentArea, content_mask, find_content_area, full_area, inner_mask, shrink
from curation.ingest.config import IngestConfig
from curation.privacy import Box, Search, blacked_out, cropped_away, find_insets, lasting_text, search_text
from curation.video import AUTO_FPS, PacketIndex, Sampling, overview_frames, sample_frames, shrunk_size

__all__ = ["NUM_PICTURES", "PICTURE_SIDE", "Geometry", "Survey", "survey_part", "survey_pictures", "survey_video"]

NUM_PICTURES = 8
"""that are looked at before the samples, at most"""
PICTURE_SIDE = 800
"""longest side of the pictures that are looked at before the samples"""
_INSET_SIDE = 480  # pixels; insets are large


@dataclass(frozen=True, slots=True)
class Geometry:
    """The content area at the two sizes in which it is used, as masks that are 0 where nothing may be seen."""

    area: ContentArea
    stored_size: tuple[int, int]
    stored_mask: np.ndarray
    filter_size: tuple[int, int]
    filter_mask: np.ndarray


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a video before its first sample."""

    geometry: Geometry
    searches: tuple[Search, ...] | None
    """of the pictures for text; None if text is not looked for"""


def survey_video(path: str, size: tuple[int, int], config: IngestConfig) -> Survey:
    """Find the content area, and the text that stands in several of the pictures, of a video whose frames are (width, height)."""
    pictures = overview_frames(path, num_frames=NUM_PICTURES, max_side=PICTURE_SIDE)
    alike = [picture for picture in pictures if picture.shape[:2] == shrunk_size(size, PICTURE_SIDE)[::-1]]
    return survey_pictures(alike, size, config)


def survey_part(path: str, size: tuple[int, int], config: IngestConfig, index: PacketIndex, sampling: Sampling) -> Survey:
    """The same for the part of a video whose frames have another size than the first, which is decoded once more for it."""
    pictures: list[np.ndarray] = []
    stride = number = 1
    for frame in sample_frames(path, fps=sampling.fps or AUTO_FPS, keyframes=sampling.keyframes, decoder="pyav", index=index):
        if frame.rgb.shape[1::-1] == size and not frame.is_corrupt:
            if number % stride == 0:
                pictures.append(shrink(frame.rgb, *shrunk_size(size, PICTURE_SIDE)))
            number += 1
            if len(pictures) == 2 * NUM_PICTURES:  # spread over the part, whose length nobody knows before
                pictures, stride = pictures[::2], 2 * stride
    return survey_pictures(pictures[:: -(-max(1, len(pictures)) // NUM_PICTURES)], size, config)


def survey_pictures(pictures: Sequence[np.ndarray], size: tuple[int, int], config: IngestConfig, *, in_time: bool = True) -> Survey:
    """The same from pictures of frames whose size is (width, height).

    Where these are not `in_time`, text is looked for in every frame and not before: the pictures are the frames, and must not count twice.
    """
    area = find_content_area(pictures, size=size) if pictures else full_area(*size)
    masks = _masks_for(size, config.text_masks)
    geometry = _geometry(area, config, masks)
    # the first and the last: an overlay that stands throughout is in both
    searched = pictures[:: max(1, len(pictures) - 1)] if in_time and config.text != "off" else []
    searches = [_searched(picture, geometry, size) for picture in searched]
    if config.text == "crop" and (text := lasting_text(searches)):
        area = _part(area, cropped_away(geometry.stored_size, text), geometry.stored_size)
        geometry = _geometry(area, config, masks)
        searches = [_searched(picture, geometry, size) for picture in searched]
    text = lasting_text(searches)
    # letters stand still and are sharp as well, but they are no sides of an inset, and no filter may count them
    geometry = _geometry(area, config, masks + _insets(pictures, geometry, text, size))
    return Survey(_without(geometry, text), None if config.text == "off" else tuple(searches))


def _geometry(area: ContentArea, config: IngestConfig, hidden: Sequence[Box]) -> Geometry:
    scale = min(1.0, config.max_side / max(area.width, area.height)) if config.max_side else 1.0
    stored = (max(1, round(area.width * scale)), max(1, round(area.height * scale)))
    filtered = (FILTER_WIDTH, max(1, round(FILTER_WIDTH * area.height / area.width)))
    masks = [blacked_out(content_mask(area, size[::-1]), [_scaled(box, area, size) for box in hidden]) for size in (stored, filtered)]
    return Geometry(area, stored, masks[0], filtered, inner_mask(masks[1]))


def _searched(picture: np.ndarray, geometry: Geometry, size: tuple[int, int]) -> Search:
    """A picture of the whole frame searched for text, cut and masked as the samples will be."""
    area = geometry.area
    scale_x, scale_y = picture.shape[1] / size[0], picture.shape[0] / size[1]
    rows = slice(round(area.y * scale_y), max(round(area.y * scale_y) + 1, round((area.y + area.height) * scale_y)))
    columns = slice(round(area.x * scale_x), max(round(area.x * scale_x) + 1, round((area.x + area.width) * scale_x)))
    stored = shrink(picture[rows, columns], *geometry.stored_size)
    return search_text(cv2.bitwise_and(stored, stored, mask=geometry.stored_mask))


def _without(geometry: Geometry, boxes: Sequence[Box]) -> Geometry:
    """With a filter mask that leaves out the boxes, unless nothing would be left."""
    scale_x, scale_y = (small / large for small, large in zip(geometry.filter_size, geometry.stored_size, strict=True))
    mask = geometry.filter_mask.copy()
    for box in boxes:
        x, y = int(box.x * scale_x), int(box.y * scale_y)
        mask[y : int(np.ceil(box.bottom * scale_y)), x : int(np.ceil(box.right * scale_x))] = 0
    return geometry if not cv2.countNonZero(mask) else dataclasses.replace(geometry, filter_mask=mask)


def _insets(pictures: Sequence[np.ndarray], geometry: Geometry, text: Sequence[Box], size: tuple[int, int]) -> tuple[Box, ...]:
    """Insets in source pixels, looked for in the content area without its text."""
    if not pictures:
        return ()
    scale = min(1.0, _INSET_SIDE / max(pictures[0].shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pictures[0].shape[:2])
    small = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in pictures]
    area, whole = geometry.area, full_area(*size)
    crop = _scaled(Box(area.x, area.y, area.width, area.height), whole, (width, height))
    crop = Box(crop.x, crop.y, min(crop.width, width - crop.x), min(crop.height, height - crop.y))
    inside = np.zeros((height, width), np.uint8)
    without_text = blacked_out(geometry.stored_mask.copy(), text)
    inside[crop.slices] = cv2.resize(without_text, (crop.width, crop.height), interpolation=cv2.INTER_NEAREST)
    return tuple(_scaled(box, full_area(width, height), size) for box in find_insets(small, inside))


def _masks_for(size: tuple[int, int], masks: Sequence[str]) -> tuple[Box, ...]:
    """The masks (WIDTHxHEIGHT:X,Y,WIDTH,HEIGHT) that were given for pictures of `size`."""
    wanted = f"{size[0]}x{size[1]}:"
    return tuple(Box(*map(int, mask.removeprefix(wanted).split(","))) for mask in masks if mask.startswith(wanted))


def _scaled(box: Box, area: ContentArea, size: tuple[int, int]) -> Box:
    """A box in source pixels as one in a picture of the area that is scaled to `size`, rounded outwards."""
    scale_x, scale_y = size[0] / area.width, size[1] / area.height
    left, top = max(0, int((box.x - area.x) * scale_x)), max(0, int((box.y - area.y) * scale_y))
    right = max(left, int(np.ceil((box.right - area.x) * scale_x)))
    bottom = max(top, int(np.ceil((box.bottom - area.y) * scale_y)))
    return Box(left, top, right - left, bottom - top)


def _part(area: ContentArea, left: Box, size: tuple[int, int]) -> ContentArea:
    """The area cut down to a box that was chosen in a picture of it scaled to `size`, rounded inwards."""
    scale_x, scale_y = area.width / size[0], area.height / size[1]
    x, y = area.x + int(np.ceil(left.x * scale_x)), area.y + int(np.ceil(left.y * scale_y))
    right, bottom = area.x + int(left.right * scale_x), area.y + int(left.bottom * scale_y)
    return dataclasses.replace(area, x=x, y=y, width=max(1, right - x), height=max(1, bottom - y))
