"""Settings of deduplication. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from curation.limits import at_least

__all__ = ["DedupConfig", "DedupKeep"]


DedupKeep = Literal["farthest", "closest", "sharpest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupConfig:
    """Which candidates are left out as near-duplicates of others."""

    dedup_threshold: float = 0.98
    """cosine similarity from which a frame is a duplicate of a higher-ranked one in its cluster; `endoforge dedup --preview` shows pairs"""
    dedup_hash_distance: int | None = 2
    """bits of the 64-bit perceptual hash up to which a frame is a duplicate of a higher-ranked one, in any video; None: not by hash"""
    dedup_hash_radius: int = 4
    """bits up to which look-alikes are searched and their distance stored, so that dedup_hash_distance can be chosen after, up to this"""
    num_dedup_clusters: int | None = None
    """clusters within which duplicates are looked for; about one for 2,500 frames where not given"""
    dedup_keep: DedupKeep = "farthest"
    """which of two duplicates stays, be they copies, look-alikes or similar: the one farthest from the centroid of its cluster (SemDeDup's
    default), the closest, or the sharpest; of equals the one whose frame id comes first"""

    def __post_init__(self) -> None:
        if not -1 < self.dedup_threshold <= 1:
            raise ValueError(f"dedup_threshold {self.dedup_threshold} is not a cosine; give a number above -1 and at most 1")
        if not 0 <= self.dedup_hash_radius <= 16:
            raise ValueError(f"dedup_hash_radius {self.dedup_hash_radius} is not within 0 to 16 of 64 bits")
        if self.dedup_hash_distance is not None and not 0 <= self.dedup_hash_distance <= self.dedup_hash_radius:
            raise ValueError(
                f"dedup_hash_distance {self.dedup_hash_distance} is not within 0 to {self.dedup_hash_radius}, as far as look-alikes are "
                "searched; raise dedup_hash_radius"
            )
        at_least(self, 1, "num_dedup_clusters")

    def search(self) -> dict[str, object]:
        """What the scores depend on; the other settings only decide by them."""
        return {"hash_radius": self.dedup_hash_radius, "num_clusters": self.num_dedup_clusters, "keep": self.dedup_keep}

    def decision(self) -> dict[str, object]:
        """What is decided by the scores."""
        return {"threshold": self.dedup_threshold, "hash_distance": self.dedup_hash_distance}
