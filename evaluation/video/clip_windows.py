"""A head of clips over a whole video: around each frame a window as long as the training clips, of the frames that were sampled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch

from evaluation.class_rows import mean_of_logits
from evaluation.heads import FittedClasses
from evaluation.images import array_image
from evaluation.video.clip_backbone import ClipBackbone
from evaluation.video.clip_features import clip_sets, interpolation_of
from evaluation.video.clip_frames import window_times

__all__ = ["ClipSetup", "clip_probabilities", "window_sets", "with_windows"]

T = TypeVar("T")
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSetup:
    """How a stored head of clips reads them."""

    network: ClipBackbone
    num_frames: int
    num_windows: int
    pooling: str
    seconds: float
    """length of a window: the median of the training clips"""
    device: torch.device

    @property
    def least_fps(self) -> float:
        """Sampled frames a second from which on the frames of a window are all different."""
        return self.num_frames / self.seconds

    def small(self, rgb: Pixels) -> Pixels:
        """A frame [H, W, 3] at the network's size."""
        return array_image(rgb, size=self.network.image_size, interpolation=interpolation_of(self.network))


def with_windows(
    frames: Iterable[T], setup: ClipSetup, *, seconds_of: Callable[[T], float], rgb_of: Callable[[T], Pixels]
) -> Iterator[tuple[T, Pixels]]:
    """Each frame with the windows around it, [W, T, size, size, 3], of the frames that are nearest in time.

    At both ends of the video the window is moved inside, as far as the video goes. Small pictures of one window and a half are held.

    Args:
        frames: in the order of time.
        setup: how clips are read.
        seconds_of: time of a frame since the first.
        rgb_of: its pixels.
    """
    half = setup.seconds / 2
    waiting: deque[T] = deque()
    times: list[float] = []
    small: list[Pixels] = []
    for frame in frames:
        waiting.append(frame)
        times.append(seconds_of(frame))
        small.append(setup.small(rgb_of(frame)))
        # a window at the start of the video reaches a whole length ahead
        while times[-1] >= max(seconds_of(waiting[0]) + half, times[0] + setup.seconds):
            yield _with_window(waiting.popleft(), times, small, setup, seconds_of)
            if not waiting:
                break
            while len(times) > 1 and times[1] < seconds_of(waiting[0]) - 2 * setup.seconds:
                del times[0], small[0]
    while waiting:
        yield _with_window(waiting.popleft(), times, small, setup, seconds_of)


def window_sets(setup: ClipSetup, windows: Sequence[Pixels]) -> dict[str, npt.NDArray[np.float32]]:
    """Feature sets [N * W, D] of the windows of N clips, each [W, T, size, size, 3]."""
    return clip_sets(setup.network, np.concatenate(windows), pooling=setup.pooling, device=setup.device)


def clip_probabilities(setup: ClipSetup, head: object, features: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Probabilities [N, C] of N clips from `window_sets`; a clip's logits are the mean of its windows'."""
    return mean_of_logits(cast(FittedClasses, head).probabilities(features), setup.num_windows)


def _with_window(
    frame: T, times: Sequence[float], small: Sequence[Pixels], setup: ClipSetup, seconds_of: Callable[[T], float]
) -> tuple[T, Pixels]:
    at = np.asarray(times)
    first = min(max(seconds_of(frame) - setup.seconds / 2, at[0]), max(at[0], at[-1] - setup.seconds))
    wanted = window_times(first, first + setup.seconds, num_frames=setup.num_frames, num_windows=setup.num_windows)
    nearest = np.abs(at[None, None, :] - wanted[:, :, None]).argmin(2)
    return frame, np.stack([np.stack([small[place] for place in row]) for row in nearest])
