"""Settings of clips. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from curation.limits import at_least

__all__ = ["ClipConfig"]

_TEXT_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConfig:
    """Cutting clips for video models, instead of taking frames."""

    clips: bool = False
    """make a dataset of clips: --size is their number, --shard.images-per-shard how many go into a tar"""
    clip_seconds: float = 5.0
    """length of a clip; what is left at the end of a stretch of footage is a shorter one"""
    clip_fps: float = 30.0
    """constant frame rate of the clips: at each moment the source frame nearest in time is shown"""
    clip_side: int = 256
    """pixels of the shorter side, an even number; the longer is scaled with it"""
    clip_min_frames: int = 16
    """frames below which a clip is refused as too short"""
    clip_max_gap_s: float = 0.5
    """seconds without a source frame that end a clip"""
    clip_max_poor_share: float = 0.5
    """share of a clip's source frames that may be blurred, dark or otherwise poor; a clip with more is refused"""
    clip_text_every_s: float = _TEXT_EVERY_S
    """seconds between two looks for text, between which frames are searched where strokes appear; 0 searches every frame, at several times
    the cost"""
    clip_max_per_video: int | None = None
    """clips cut from a video at most, spread evenly over it; all unless given"""
    clip_crf: int = 18
    """rate factor of x264, 0-51: lower is better and larger"""
    clip_timeout_s: float = 36_000.0
    """seconds after which the cutting of a video is given up as a reject; has no influence on clips otherwise"""

    def __post_init__(self) -> None:
        at_least(self, 1, "clip_min_frames", "clip_max_per_video")
        if not 0 < self.clip_seconds <= 60:
            raise ValueError(f"clip_seconds is {self.clip_seconds}; give a length above 0 and up to 60 seconds")
        if not 1 <= self.clip_fps <= 120:
            raise ValueError(f"clip_fps is {self.clip_fps}; give 1 to 120 frames a second")
        if self.clip_side < 32 or self.clip_side % 2:
            raise ValueError(f"clip_side is {self.clip_side}; give an even number of at least 32 pixels")
        if self.clip_min_frames > self.clip_frames:
            raise ValueError(
                f"clip_min_frames is {self.clip_min_frames}, and a clip of {self.clip_seconds:g} s at {self.clip_fps:g} frames a second "
                f"has {self.clip_frames}; give no more than that"
            )
        if not 0 <= self.clip_max_poor_share <= 1:
            raise ValueError(f"clip_max_poor_share is {self.clip_max_poor_share}; give a share of 0 to 1")
        if not 0 < self.clip_max_gap_s <= 10:
            raise ValueError(f"clip_max_gap_s is {self.clip_max_gap_s}; give a time above 0 and up to 10 seconds")
        if not 0 <= self.clip_text_every_s <= 5:
            raise ValueError(f"clip_text_every_s is {self.clip_text_every_s}; give 0 to 5 seconds, 0 for every frame")
        if self.clip_timeout_s <= 0:
            raise ValueError(f"clip_timeout_s is {self.clip_timeout_s}; give a time above 0, 36000 is ten hours")
        if not 0 <= self.clip_crf <= 51:
            raise ValueError(f"clip_crf is {self.clip_crf}; give 0 to 51, 18 is hard to tell from the source")

    @property
    def clip_frames(self) -> int:
        """Frames of a clip of full length."""
        return max(1, round(self.clip_seconds * self.clip_fps))

    def cutting(self) -> dict[str, Any]:
        """The settings that say what a cutting gives; one that came later counts where it is not its default."""
        left_out = ["clips", "clip_timeout_s"]
        if self.clip_text_every_s == _TEXT_EVERY_S:
            left_out.append("clip_text_every_s")
        return {name: value for name, value in asdict(self).items() if name not in left_out}
