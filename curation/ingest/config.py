"""Settings of ingest and refiltering. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from curation.filters import FrameThresholds, installed_filters, named_values

__all__ = ["IngestConfig", "RequalifyConfig", "no_percentiles", "percentiles"]

_PERCENTILES = {
    "blur": "blur_percentile",
    "specular_share": "specular_percentile",
    "bubble_share": "bubble_percentile",
    "stool_share": "stool_percentile",
}
"""option of each score of EndoForge itself that is judged by device"""


def no_percentiles() -> dict[str, float]:
    """For each score of an installed filter the percentile that drops nothing."""
    return {each.name: 0.0 if each.bad == "low" else 100.0 for each in installed_filters() if each.threshold is not None and each.by_device}


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig(FrameThresholds):
    """Decoding, filtering and temporal deduplication of one video."""

    fps: float | Literal["auto"] = 1.0
    """sampled frames per second of presentation time; auto: one a second, from keyframes alone where they are at most a second apart"""
    keyframes: bool = False
    """decode keyframes alone, and take the first one at or after each time that is due"""
    all: bool = False
    """take every frame (with keyframes, every keyframe), whatever fps says"""
    decoder: Literal["auto", "decord", "pyav"] = "auto"
    """auto: PyAV where it can leave out frames that no sample needs, with all, thorough, or a large file, else decord; decord: for every
    file that it can be trusted with, else PyAV; pyav: only that"""
    thorough: bool = False
    """decode every frame (with keyframes, every keyframe), also those that no sample needs, so that damage is found and a video flagged
    partial wherever it is damaged; always by PyAV"""
    max_side: int = 512
    """longest side of a stored frame in pixels, larger crops are scaled down; 0 never scales"""
    jpeg_quality: int = 90
    """JPEG quality of stored frames, 1-100"""
    store_dropped: bool = True
    """keep the pictures of frames dropped for quality or redundancy too, so that `requalify` can bring them back without decoding"""
    store_private: bool = True
    """keep what was dropped for privacy, and what a doubtful box over text hides, in a private pack (file mode 0600, never exported) until
    `privacy-audit --private` has decided; without it such pictures are gone for good, and doubtful boxes stay"""
    max_text_share: float = 0.02
    """mean share of a video's frames hidden by boxes over text, above which the video is flagged and its frames with doubtful boxes are
    quarantined until an audit; without store_private there is no quarantine"""
    out_of_body_window_s: float = 5.0
    """seconds over which that score is smoothed"""
    text: Literal["blackout", "crop", "drop", "off"] = "blackout"
    """what happens to text that is burned into the picture: blacked out, cropped away where that leaves most of the picture (else blacked
    out), the frame dropped, or not looked for"""
    text_interval_s: float = 20.0
    """seconds between two looks for text at most; it is looked for at once where something sharp stands still while the camera moves"""
    text_masks: tuple[str, ...] = ()
    """places that a processor writes to, blacked out in every video with pictures of that size: WIDTHxHEIGHT:X,Y,WIDTH,HEIGHT in pixels"""
    max_pixels: int = 33_177_600
    """width times height of the largest picture that is decoded (the default is 8K); larger ones are rejected"""
    timeout_s: float = 3600.0
    """seconds after which a video is given up as a reject; has no influence on results otherwise"""
    settle_s: float = 2.0
    """seconds since its last change before a new file is read; what changes meanwhile is left for the next run"""
    cache_gb: float = 50.0
    """gigabytes of videos fetched from object stores that lie in the lake's staging folder at a time, over all workers"""
    rehash: bool = False
    """read every file again instead of trusting that one of unchanged size and time is the same"""
    max_memory_mb: int = 4096
    """MiB of resident memory beyond which a worker is ended and its video given up as a reject; sound ones need under 400"""
    max_frames: int = 2_000_000
    """frames of the longest video that is decoded (the default is eleven hours at 50 a second); longer ones are rejected"""
    retry_failed: bool = False
    """try videos again that an earlier run gave up by a limit, a crash or an error; by itself a reject stands, so that no run pays twice"""

    def __post_init__(self) -> None:
        """Refuse values that no video could satisfy."""
        FrameThresholds.__post_init__(self)
        if self.fps != "auto" and not 0 < self.fps <= 1000:
            raise ValueError(f"fps={self.fps} is not above 0 and up to 1000; use 1 for one frame a second, auto, or --all for every frame")
        if self.max_side < 0 or 0 < self.max_side < 32:
            raise ValueError(f"max_side={self.max_side} is too small; use 0 (never scale) or at least 32 pixels")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality={self.jpeg_quality} is outside 1-100; 90 is a good value")
        if not 0 <= self.max_text_share <= 1:
            raise ValueError(f"max_text_share={self.max_text_share} is outside 0-1; it is a share, 0.02 is a good value")
        if self.text_interval_s < 0:
            raise ValueError(f"text_interval_s={self.text_interval_s} is negative; use 0 to look at every sample, or about 20")
        for mask in self.text_masks:
            if not re.fullmatch(r"\d+x\d+:\d+,\d+,\d+,\d+", mask):
                raise ValueError(f"text_masks got {mask!r}, expected WIDTHxHEIGHT:X,Y,WIDTH,HEIGHT, such as 1920x1080:0,0,550,1080")
        if self.settle_s < 0 or self.cache_gb <= 0:
            raise ValueError(f"settle_s={self.settle_s} and cache_gb={self.cache_gb} must be positive; use 2 seconds and 50 gigabytes")
        if self.max_memory_mb < 512:
            raise ValueError(f"max_memory_mb={self.max_memory_mb} is less than a worker needs for any video; use 512 or more")
        if self.out_of_body_window_s < 0 or self.max_pixels < 1 or self.timeout_s <= 0 or self.max_frames < 1:
            raise ValueError(
                "out_of_body_window_s, max_pixels, max_frames and timeout_s must be positive; leave them out for their defaults"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RequalifyConfig(FrameThresholds):
    """Thresholds to decide anew with; one that is not given has the default of `ingest`, whatever the frames were ingested with."""

    blur_percentile: float = 0.0
    """also drop what is blurrier than this percentile of a device's usable frames; 0 is off"""
    blur_cap: float = 50.0
    """a frame this sharp (in the unit of min_blur) is never dropped as blurred for its device's percentile"""
    specular_percentile: float = 100.0
    """also drop frames with more reflections than this percentile of a device's usable frames; 100 is off"""
    bubble_percentile: float = 100.0
    """the same for bubbles"""
    stool_percentile: float = 100.0
    """the same for stool"""
    share_floor: float = 0.1
    """a frame with no more than this share of reflections, bubbles or stool is never dropped for its device's percentile"""
    min_device_frames: int = 1000
    """usable frames that a device must have for its percentiles to say anything; with fewer, only the fixed thresholds apply"""
    percentiles: Mapping[str, float] = field(default_factory=dict)
    """the same for the scores of filters that other packages add, by name; 0 is off where low is bad, 100 where high is"""

    def __post_init__(self) -> None:
        """Refuse values that no frame could satisfy."""
        FrameThresholds.__post_init__(self)
        for name in _PERCENTILES.values():
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"{name}={getattr(self, name)} is outside 0-100; it is a percentile")
        object.__setattr__(self, "percentiles", named_values(self.percentiles, no_percentiles, setting="percentiles"))
        for name, value in self.percentiles.items():
            if not 0 <= value <= 100:
                raise ValueError(f"percentiles has {name}={value}, outside 0-100; it is a percentile")
        if not 0 <= self.share_floor <= 1:
            raise ValueError(f"share_floor={self.share_floor} is outside 0-1; it is a share")
        if self.min_device_frames < 1:
            raise ValueError(f"min_device_frames={self.min_device_frames} is too small; give 1 or more")


def percentiles(config: RequalifyConfig) -> dict[str, float]:
    """The percentile asked for of each score that is judged by device; empty where none is."""
    off = {name: 0.0 if name == "blur" else 100.0 for name in _PERCENTILES} | no_percentiles()
    asked = {name: getattr(config, option) for name, option in _PERCENTILES.items()} | dict(config.percentiles)
    return {name: value for name, value in asked.items() if value != off[name]}
