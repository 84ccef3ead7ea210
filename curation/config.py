"""Settings of curation, one record a stage: what a stage does depends on its own record and the seed, and on nothing else here."""

from __future__ import annotations

from dataclasses import dataclass, field

from curation.clips import ClipConfig
from curation.clustering import ClusterConfig
from curation.dedup import DedupConfig
from curation.holdout import HoldoutConfig
from curation.selection import SampleConfig
from curation.shards import ShardConfig

__all__ = ["CurateConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateConfig:
    """Deduplication, clustering, sampling and sharding."""

    size: int
    """images, or clips, wanted; all candidates are taken, and that is said, where there are fewer"""
    holdout: HoldoutConfig = field(default_factory=HoldoutConfig)
    nested: tuple[int, ...] = ()
    """sizes of further datasets, each within every larger one, named NAME-SIZE: --size 10000000 --nested 1000000 100000; the same size
    given later with the same settings and seed gives the same images"""
    dedup: DedupConfig = field(default_factory=DedupConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    shard: ShardConfig = field(default_factory=ShardConfig)
    clips: ClipConfig = field(default_factory=ClipConfig)
    seed: int = 0
    """random draws of clustering, sampling and the order in the shards follow from it"""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size {self.size} is no number of images; give 1 or more")
        if len(set(self.nested)) < len(self.nested) or not all(1 <= nested < self.size for nested in self.nested):
            raise ValueError(f"nested {self.nested} are to lie within {self.size} images; give different sizes of 1 to {self.size - 1}")
