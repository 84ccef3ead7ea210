"""Settings of the filters that follow each device, for runs that ingest and requalify in one go. Free of heavy imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from curation.filters import FrameThresholds
from curation.ingest.config import IngestConfig, RequalifyConfig, percentiles

__all__ = ["DeviceConfig", "requalify_config"]

_DEFAULTS: dict[str, Any] = {each.name: each.default for each in fields(RequalifyConfig)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """Percentiles of each device's own frames, by which the thresholds of ingest are tightened after every ingest; all off unless given.

    What they decided stays in force when they are switched off again, until `endoforge requalify` decides otherwise.
    """

    blur_percentile: float = _DEFAULTS["blur_percentile"]
    """drop what is blurrier than this percentile of a device's usable frames, such as 5; 0 is off"""
    blur_cap: float = _DEFAULTS["blur_cap"]
    """a frame this sharp (in the unit of min_blur) is never dropped as blurred for its device's percentile"""
    specular_percentile: float = _DEFAULTS["specular_percentile"]
    """drop frames with more reflections than this percentile of a device's usable frames, such as 95; 100 is off"""
    bubble_percentile: float = _DEFAULTS["bubble_percentile"]
    """the same for bubbles"""
    stool_percentile: float = _DEFAULTS["stool_percentile"]
    """the same for stool"""
    share_floor: float = _DEFAULTS["share_floor"]
    """a frame with no more than this share of reflections, bubbles or stool is never dropped for its device's percentile"""
    min_device_frames: int = _DEFAULTS["min_device_frames"]
    """usable frames that a device must have for its percentiles to say anything; with fewer, only the fixed thresholds apply"""
    percentiles: Mapping[str, float] = field(default_factory=dict)
    """the same for the scores of filters that other packages add, by name; 0 is off where low is bad, 100 where high is"""

    def __post_init__(self) -> None:
        """Refuse values that no frame could satisfy."""
        object.__setattr__(self, "percentiles", RequalifyConfig(**asdict(self)).percentiles)

    @property
    def is_on(self) -> bool:
        """Whether any percentile is asked for."""
        return bool(percentiles(RequalifyConfig(**asdict(self))))


def requalify_config(devices: DeviceConfig, ingest: IngestConfig) -> RequalifyConfig | None:
    """The decision that keeps the fixed thresholds of an ingest and adds those of the devices; None where no percentile is asked for."""
    if not devices.is_on:
        return None
    fixed = {field.name: getattr(ingest, field.name) for field in fields(FrameThresholds)}
    return RequalifyConfig(**fixed, **asdict(devices))
