"""A filter of frames as one record: what its score is, how it is computed, and when and why it drops a frame.

The column of the table `frames`, the threshold's option, the percentiles of devices, refiltering, the funnel and the report follow from it.
`registry.py` lists the filters in the order in which their reasons apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "FrameFilter", "Picture"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A sampled frame's content area, scaled to `FILTER_WIDTH` pixels."""

    rgb: np.ndarray
    """[height, width, 3] uint8"""
    gray: np.ndarray
    """[height, width] uint8"""
    previous: np.ndarray | None
    """`gray` of the sample before; None for a video's first, and for stills"""
    mask: np.ndarray
    """[height, width] uint8: 255 inside the content area, without its edge"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFilter:
    """A score of a frame and the bound beyond which the frame is dropped; several filters may judge one score."""

    name: str
    """name of the score, and of its column in the table `frames`: small letters, digits and underscores"""
    unit: str
    """what the score measures, with its unit or range, in one sentence"""
    score: Callable[[Picture], float] | None
    """score of one frame; NaN if it is not known, and then nothing is dropped for it. None: ingest computes it over the whole video"""
    bad: Literal["low", "high"] = "low"
    """the side of the threshold on which a frame is dropped; a score exactly at the threshold is kept"""
    reason: str | None = None
    """why a frame is dropped, as `drop_reason` says it; None for a score that drops nothing"""
    threshold: float | None = None
    """default of the option; that of a filter of EndoForge itself stands beside the option, in `FrameThresholds`"""
    is_private: bool = False
    """a frame dropped for it may show a person, so only an audit brings it back; other pictures are kept for other thresholds"""
    by_device: bool = True
    """whether a percentile of each device's frames may tighten the threshold"""
    adjusted: Callable[[Mapping[str, Floats]], Floats] | None = None
    """what is compared with the threshold, [num_frames], from all scores by name; the score itself unless given"""
    version: int = 1
    """raised whenever `score` gives other numbers, so that videos are ingested again"""

    @property
    def option(self) -> str:
        """Name of the threshold, such as min_blur."""
        return f"{'min' if self.bad == 'low' else 'max'}_{self.name}"

    @property
    def what(self) -> str:
        """What its column in the table `frames` holds."""
        return f"{self.unit}; null if the filter was not installed at ingest, or does not know"

    def compared(self, scores: Mapping[str, Floats]) -> Floats:
        """What is compared with the threshold: [num_frames]."""
        return self.adjusted(scores) if self.adjusted else scores[self.name]

    def fails(self, scores: Mapping[str, Floats], threshold: float) -> npt.NDArray[np.bool_]:
        """Which frames the filter drops: [num_frames]."""
        compared = self.compared(scores)
        return np.asarray(compared < threshold if self.bad == "low" else compared > threshold)
