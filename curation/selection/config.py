"""Settings of selection. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from curation.limits import at_least
from curation.selection.weight_spec import parse_weights

__all__ = ["SampleConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """How the images of a dataset are drawn from the clusters."""

    within_leaf: Literal["random", "closest", "diverse"] = "random"
    """how frames are taken from a finest-level cluster: at random, closest to its centroid first, or each as far as can be from those
    taken before"""
    max_per_patient: int | None = None
    """most frames of one patient; a video whose patient is unknown counts as a patient of its own; no limit where not given, as below"""
    max_per_video: int | None = None
    """most frames of one video"""
    max_per_site: int | None = None
    """most frames of one site; frames whose site is unknown are not limited by it, and their number is said"""
    max_per_device: int | None = None
    """most frames of one device; frames whose device is unknown are not limited by it, and their number is said"""
    weights: tuple[str, ...] = ()
    """KIND:VALUE=FACTOR with KIND one of cluster, site, device, procedure, patient, video, as in cluster:2/17=3 (level 2, cluster 17)
    site:Oslo=2 procedure:colonoscopy=0.5: such frames are taken that many times as often as they would be without; several multiply"""

    def __post_init__(self) -> None:
        at_least(self, 1, "max_per_patient", "max_per_video", "max_per_site", "max_per_device")
        parse_weights(self.weights)

    @property
    def reads_metadata(self) -> bool:
        """Whether a selection depends on what manifests and headers say of the videos."""
        by_metadata = (self.max_per_patient, self.max_per_site, self.max_per_device)
        return any(cap is not None for cap in by_metadata) or any(
            weight.kind not in ("cluster", "video") for weight in parse_weights(self.weights)
        )
