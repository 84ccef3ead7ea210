"""A head of masks on a video network over a whole video: each frame in the middle of its neighbours, as it was trained."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch

from evaluation.heads import FittedMasks
from evaluation.images import array_image
from evaluation.mask_scoring import predicted_masks
from evaluation.video.clip_backbone import ClipBackbone, clip_tensor

__all__ = [
    "INTERPOLATION",
    "ContextSetup",
    "ContextWindow",
    "context_masks",
    "middle_patches",
    "own_patches",
    "window_places",
    "with_neighbours",
]

T = TypeVar("T")
Pixels = npt.NDArray[np.uint8]

INTERPOLATION = "bicubic"
"""Interpolation by which frames are resized, in training and afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSetup:
    """How a stored head of masks on a video network reads frames."""

    network: ClipBackbone
    num_frames: int
    """frames of a window"""
    levels: int
    """how often the head is given the patches of the last block"""
    device: torch.device

    def small(self, rgb: Pixels) -> Pixels:
        """A frame [H, W, 3] at the network's size."""
        return array_image(rgb, size=self.network.image_size, interpolation=INTERPOLATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextWindow:
    """A frame among its neighbours."""

    frames: Pixels
    """[T, size, size, 3]"""
    place: int
    """place of the frame in the window"""
    size: tuple[int, int]
    """height and width of the frame itself"""


def window_places(place: int, total: int, *, num_frames: int) -> tuple[list[int], int]:
    """Places of the window around one of `total` frames, and the frame's place in it.

    The frame is in the middle, of an even number behind the middle. At both ends the window is moved inside. Of fewer frames the last one
    is repeated.
    """
    first = max(0, min(place - num_frames // 2, total - num_frames))
    return [min(at, total - 1) for at in range(first, first + num_frames)], place - first


def with_neighbours(frames: Iterable[T], setup: ContextSetup, *, rgb_of: Callable[[T], Pixels]) -> Iterator[tuple[T, ContextWindow]]:
    """Each frame, in the order of time, with its window; small pictures of two windows are held at most."""
    waiting: deque[tuple[int, T]] = deque()
    small: dict[int, Pixels] = {}
    total = 0

    def window() -> tuple[T, ContextWindow]:
        place, frame = waiting.popleft()
        places, own = window_places(place, total, num_frames=setup.num_frames)
        for old in [each for each in small if each < places[0]]:  # no later window begins before this one
            del small[old]
        height, width = rgb_of(frame).shape[:2]
        return frame, ContextWindow(frames=np.stack([small[each] for each in places]), place=own, size=(height, width))

    for frame in frames:
        small[total] = setup.small(rgb_of(frame))
        waiting.append((total, frame))
        total += 1
        while waiting and total >= max(0, waiting[0][0] - setup.num_frames // 2) + setup.num_frames:
            yield window()
    while waiting:
        yield window()


def middle_patches(network: ClipBackbone, windows: Pixels, places: Sequence[int], *, device: torch.device) -> npt.NDArray[np.float16]:
    """Patches [B, D, h, w] of one frame of each window [B, T, size, size, 3], that at its place."""
    with torch.inference_mode():
        _, patches = network.tokens(clip_tensor(windows, mean=network.mean, std=network.std, device=device))
        middle = patches[torch.arange(len(windows)), torch.tensor(places)].permute(0, 3, 1, 2)
    found: npt.NDArray[np.float16] = middle.float().clamp(-65504, 65504).half().cpu().numpy()
    return found


def own_patches(setup: ContextSetup, windows: Sequence[ContextWindow]) -> npt.NDArray[np.float16]:
    """Patches [B, D, h, w] of each window's own frame."""
    pixels = np.stack([each.frames for each in windows])
    return middle_patches(setup.network, pixels, [each.place for each in windows], device=setup.device)


def context_masks(
    setup: ContextSetup, head: object, patches: npt.NDArray[np.float16], windows: Sequence[ContextWindow]
) -> list[npt.NDArray[np.bool_]]:
    """The mask [H, W] of each window's own frame, at its size, from `own_patches`."""
    views = [([(patches,) * setup.levels], False)]
    return list(predicted_masks(cast(FittedMasks, head), views, [each.size for each in windows], device=setup.device))
