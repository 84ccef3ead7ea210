"""Settings of clustering. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from curation.limits import at_least

__all__ = ["ClusterConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """Hierarchical k-means."""

    num_clusters: tuple[int, ...] | None = None
    """clusters per level, finest first; chosen from the number of frames where not given"""
    num_resamples: int = 3
    """resampling steps per level above the first fit"""
    resample_sizes: tuple[int, ...] | None = None
    """members closest to its centroid that a cluster keeps in a resampling step, per level; from the clusters' sizes where not given"""
    max_iterations: int = 50
    """most Lloyd iterations of a fit; it stops earlier when an iteration gains less than 0.01%"""
    refit: Literal["never", "auto", "always"] = "auto"
    """what to do with frames that are new since a tree of the same settings was made: place them in it; the same, unless they drift or are
    too many; or make a new tree"""
    max_drift: float = 1.5
    """auto makes a new tree when the frames placed since have a mean distance to their centroids of more than this times its own frames';
    frames of new patients are always farther than those a tree was fitted to (1.4 times for a tree of six phantom videos)"""
    max_growth: float = 2.0
    """auto makes a new tree when there are more than this times as many frames as it was made of, or as few"""
    max_memory_gb: float = 8.0
    """gigabytes of vectors (float32, twice) up to which clustering is done in memory; above, by blocks of rows from disk on all workers,
    with seeds from a sample that fits in half of it. From 10,000 clusters on each worker may hold a cell besides, of 1 GiB at most and
    a quarter of that on average; larger cells are fitted one after another, each by all workers"""

    def __post_init__(self) -> None:
        if self.num_clusters is not None and (
            not self.num_clusters or min(self.num_clusters) < 1 or list(self.num_clusters) != sorted(set(self.num_clusters), reverse=True)
        ):
            raise ValueError(f"num_clusters {self.num_clusters} must fall, finest level first; give for example 5000 500 50")
        if self.resample_sizes is not None and (
            min(self.resample_sizes, default=0) < 1
            or (self.num_clusters is not None and len(self.resample_sizes) != len(self.num_clusters))
        ):
            raise ValueError(f"resample_sizes {self.resample_sizes} needs one number of at least 1 per level; give for example 10 5 3")
        if not self.max_memory_gb > 0:
            raise ValueError(f"max_memory_gb {self.max_memory_gb} is no memory; give gigabytes above 0")
        at_least(self, 1, "max_drift", "max_growth")
        at_least(self, 0, "num_resamples")
        at_least(self, 1, "max_iterations")
