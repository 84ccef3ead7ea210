"""Views of a clip: which frames, which part of the picture, which colours. All frames of a view get the same.

What Endo-FM's released code does by accident is a setting of `VideoConfig`; the other value of each is the clean form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pretrain.config import AugmentConfig, PretrainConfig, VideoConfig

__all__ = ["ViewDraw", "cut_view", "draw_views", "equally_spaced", "frame_window", "view_groups"]

_RATIO = (3 / 4, 4 / 3)
_TRIES = 10
_RATE = 30
_RGB, _BGR = (0.299, 0.587, 0.114), (0.114, 0.587, 0.299)
_SHORTEST_SPAN = 0.5  # of a clip, for a global view at random

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


class ViewDraw(NamedTuple):
    """All that is drawn for one view."""

    frames: tuple[int, ...]
    """indices into the decoded window"""
    box: tuple[int, int, int, int]
    """left, top, right, bottom in pixels"""
    size: int
    """side of the view in pixels"""
    hflip: bool
    vflip: bool
    jitter: tuple[tuple[int, float], ...]
    """changes in their order: 0 brightness, 1 contrast, 2 saturation, and the factor of each; empty for none"""
    gray: bool


def equally_spaced(start: int, end: int, count: int, num_frames: int) -> tuple[int, ...]:
    """`count` points from start to end inclusive, kept within the clip and truncated; in integers, so that no rounding moves one."""
    last = num_frames - 1
    steps = max(1, count - 1)
    return tuple(min(last, max(0, start + index * (end - start) // steps)) for index in range(count))


def frame_window(num_frames: int, fps: float, config: VideoConfig, *, rng: np.random.Generator) -> range:
    """Frames of a clip that views are taken from: all, or for a longer clip a window of it at random and the first frame after it."""
    window = config.window_frames * fps / _RATE
    start = rng.uniform(0.0, max(num_frames - window, 0.0))
    if num_frames <= window:
        return range(num_frames)
    return range(math.ceil(start), min(num_frames, math.floor(start + window) + 2))


def view_groups(config: PretrainConfig) -> list[tuple[int, int, int]]:
    """Runs of consecutive views with as many frames of one size: how many, their frames and their side in pixels.

    Global views come first, each a run of its own: the teacher sees them alone.
    """
    assert config.video is not None
    groups = [(1, frames, config.model.img_size) for frames in config.video.global_frames]
    for frames in config.video.local_frames:
        if len(groups) > len(config.video.global_frames) and groups[-1][1] == frames:
            groups[-1] = (groups[-1][0] + 1, frames, config.augment.local_size)
        else:
            groups.append((1, frames, config.augment.local_size))
    return groups


def draw_views(
    num_frames: int,
    size: tuple[int, int],
    config: PretrainConfig,
    *,
    rng: np.random.Generator,
    colour_rng: np.random.Generator,
) -> list[ViewDraw]:
    """What is drawn for the views of a clip, globals first.

    Args:
        num_frames: of the decoded window.
        size: width and height of its frames.
        config: of the run.
        rng: source of the frames and boxes.
        colour_rng: source of flips, jitter and grey; the released code's are repeated each epoch.
    """
    video, augment = config.video, config.augment
    assert video is not None
    indices = [*_global_frames(num_frames, video, rng), *_local_frames(num_frames, video, rng)]
    draws = []
    for number, frames in enumerate(indices):
        is_global = number < len(video.global_frames)
        scale = augment.global_scale if is_global else augment.local_scale
        draws.append(
            ViewDraw(
                frames=frames,
                box=_box(*size, scale, keep_last=video.crop_try == "last", rng=rng),
                size=config.model.img_size if is_global else augment.local_size,
                hflip=colour_rng.random() < augment.hflip_p,
                vflip=colour_rng.random() < augment.vflip_p,
                jitter=_jitter(augment, colour_rng) if colour_rng.random() < augment.jitter_p else (),
                gray=colour_rng.random() < augment.gray_p,
            )
        )
    return draws


def cut_view(frames: Mapping[int, Pixels] | Sequence[Pixels], draw: ViewDraw, config: VideoConfig) -> Floats:
    """The pixels of a view, (frames, side, side, 3) RGB, 0 to 1 for black to white; clamped only if the settings say so.

    Args:
        frames: of the window, (height, width, 3) RGB by index.
        draw: of the view.
        config: of the run.
    """
    left, top, right, bottom = draw.box
    shown = {index: _resized(frames[index][top:bottom, left:right], draw.size) for index in dict.fromkeys(draw.frames)}
    view = np.stack([shown[index] for index in draw.frames])
    if config.clamp:
        np.clip(view, 0.0, 1.0, out=view)
    if draw.hflip:
        view = view[:, :, ::-1]
    if draw.vflip:
        view = view[:, ::-1]
    weights = np.array(_BGR if config.gray_weights == "bgr" else _RGB, np.float32)
    for which, factor in draw.jitter:
        view = _changed(view, which, factor, weights)
        if config.clamp:
            np.clip(view, 0.0, 1.0, out=view)
    if draw.gray:
        view = np.repeat((view @ weights)[..., None], 3, axis=-1)
    return np.ascontiguousarray(view, dtype=np.float32)


def _global_frames(num_frames: int, config: VideoConfig, rng: np.random.Generator) -> list[tuple[int, ...]]:
    first, second = config.global_frames
    if config.global_span == "fixed":
        return [equally_spaced(0, num_frames - 5, first, num_frames), equally_spaced(5, num_frames, second, num_frames)]
    found = []
    for count in (first, second):
        span = round((num_frames - 1) * rng.uniform(_SHORTEST_SPAN, 1.0))
        start = int(rng.integers(num_frames - span))
        found.append(equally_spaced(start, start + span, count, num_frames))
    return found


def _local_frames(num_frames: int, config: VideoConfig, rng: np.random.Generator) -> list[tuple[int, ...]]:
    span = num_frames // len(config.local_frames) if config.local_frames else 0
    starts = [int(rng.integers(num_frames - span)) for _ in config.local_frames]
    return [equally_spaced(start, start + span, count, num_frames) for start, count in zip(starts, config.local_frames, strict=True)]


def _box(width: int, height: int, scale: tuple[float, float], *, keep_last: bool, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random box of a share of the area and an aspect ratio log-uniform in 3/4 to 4/3.

    With `keep_last` all ten tries are made, and the last gives the size. If that does not fit, the box stands where an earlier try that
    fitted stood, and is cut at the border.
    """
    place: tuple[int, int] | None = None
    box_width, box_height = width, height
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            place = int(rng.integers(width - box_width + 1)), int(rng.integers(height - box_height + 1))
            if not keep_last:
                break
    if place is None:
        side = min(width, height)
        place, box_width, box_height = ((width - side) // 2, (height - side) // 2), side, side
    left, top = place
    return left, top, min(width, left + max(1, box_width)), min(height, top + max(1, box_height))


def _jitter(config: AugmentConfig, rng: np.random.Generator) -> tuple[tuple[int, float], ...]:
    strengths = (config.brightness, config.contrast, config.saturation)
    factors = [1.0 + strength * rng.uniform(-1.0, 1.0) for strength in strengths]
    return tuple((int(which), factors[int(which)]) for which in rng.permutation(3))


def _resized(crop: Pixels, size: int) -> Floats:
    """Bicubic without antialiasing, (size, size, 3) float32; overshoot is kept."""
    pixels = crop.astype(np.float32) * np.float32(1 / 255)
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def _changed(view: Floats, which: int, factor: float, weights: Floats) -> Floats:
    """A blend of the view with black, with the mean grey of each frame, or with its own grey."""
    own = np.float32(factor)
    if which == 0:
        return view * own
    gray = (view @ weights)[..., None]
    other = gray.mean(axis=(1, 2, 3), keepdims=True) if which == 1 else gray
    return np.asarray(view * own + other * (np.float32(1.0) - own), np.float32)
