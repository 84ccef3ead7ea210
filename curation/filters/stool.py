"""Frames covered by stool or murky fluid, which only the colours of the whole video tell from tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curation.filters.frame_filter import FrameFilter

__all__ = ["STOOL_SHARE", "stool_shares"]

_YELLOW_HUES = slice(2, 9)  # steps of ten degrees: orange to yellow-green
_AMBER_HUE = 3
_TINTED_HUES = range(5, 27)  # tissue of such a hue was tinted by the processor or a narrow band: yellow has no meaning there


def stool_shares(profiles: Sequence[np.ndarray]) -> np.ndarray:
    """How much of each frame of one video is covered by what is yellower than the video's own tissue: stool and murky fluid.

    Tissue is crimson under one processor and orange under another, so the hue is compared with the video's commonest; what the video shows
    most of the time, also where it is yellow, counts as tissue.

    Args:
        profiles: from `color_profile`, of the frames in time order.

    Returns:
        [num_frames] share of the well-lit pixels; 0 where a frame is too dark to judge, or the video's tissue is tinted green to violet.
    """
    stack = np.nan_to_num(np.stack(profiles).astype(np.float64))
    typical = np.median(stack, axis=0)
    common = int(typical.sum(axis=0).argmax())
    if common in _TINTED_HUES:
        return np.zeros(len(stack))
    reach = 2 if common < _AMBER_HUE else 1  # tissue varies less in hue the yellower it is
    first = max(_YELLOW_HUES.start, common + reach) if common < _TINTED_HUES.start else _YELLOW_HUES.start
    yellow = slice(first, _YELLOW_HUES.stop)
    return np.asarray(np.clip(stack[:, 1, yellow] - typical[1, yellow], 0, None).sum(axis=1))


STOOL_SHARE = FrameFilter(
    name="stool_share",
    unit="share of the lit pixels that are yellower than the video's own tissue",
    score=None,
    bad="high",
    reason="stool",
)
