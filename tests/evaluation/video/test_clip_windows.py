from __future__ import annotations

import numpy as np
import torch

from evaluation.video.clip_windows import ClipSetup, with_windows


class Brightness:
    """A network of one number: the mean of each clip."""

    dim, image_size, num_frames, mean, std = 1, 2, 4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def tokens(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return clips.mean((1, 2, 3, 4))[:, None], clips.mean((1, 3, 4))[:, :, None, None, None]


def test_windows_over_a_video_stay_inside_it() -> None:
    setup = ClipSetup(network=Brightness(), num_frames=4, num_windows=1, pooling="mean", seconds=4.0, device=torch.device("cpu"))
    frames = [(float(second), np.full((3, 3, 3), second, np.uint8)) for second in range(9)]
    found = [
        (frame[0], windows[0, :, 0, 0, 0].tolist())
        for frame, windows in with_windows(frames, setup, seconds_of=lambda frame: frame[0], rgb_of=lambda frame: frame[1])
    ]
    start, end = [0, 1, 2, 3], [4, 5, 6, 7]
    assert found == [
        (0.0, start),
        (1.0, start),
        (2.0, start),
        (3.0, [1, 2, 3, 4]),
        (4.0, [2, 3, 4, 5]),
        (5.0, [3, 4, 5, 6]),
        (6.0, end),
        (7.0, end),
        (8.0, end),
    ]
    assert setup.least_fps == 1


def test_a_video_shorter_than_a_window_repeats_frames() -> None:
    setup = ClipSetup(network=Brightness(), num_frames=4, num_windows=1, pooling="mean", seconds=4.0, device=torch.device("cpu"))
    frames = [(0.5, np.full((2, 2, 3), 7, np.uint8))]
    found = list(with_windows(frames, setup, seconds_of=lambda frame: frame[0], rgb_of=lambda frame: frame[1]))
    assert found[0][1].tolist() == np.full((1, 4, 2, 2, 3), 7).tolist()
