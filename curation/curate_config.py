"""Settings of curation, one record a stage: what a stage does depends on its own record and the seed, and on nothing else here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from curation.weight_spec import parse_weights

__all__ = ["ClusterConfig", "CurateConfig", "DedupConfig", "DedupKeep", "HoldoutConfig", "SampleConfig", "ShardConfig"]


DedupKeep = Literal["farthest", "closest", "sharpest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutConfig:
    """What must not be learned from, because a model is to be judged by it."""

    holdout: tuple[str, ...] = ()
    """folders of pictures or videos, evaluation sets, and CSV or Parquet lists (columns path, uri or image; video; patient); candidates
    that are copies of them, or whose video or patient they name, are left out and recorded"""
    holdout_scope: Literal["frame", "video", "patient"] = "patient"
    """what goes with a copy: nothing else; the rest of its video; or that and, where it is known whose it is, that patient's other videos.
    A folder of pictures whose patient is not known is no video: there only the copies go"""
    holdout_hash_distance: int = 10
    """differing bits of the 64 of a perceptual hash up to which two pictures are compared"""
    holdout_similarity: float | None = None
    """cosine of embeddings from which two pictures are compared; calibrated on altered copies of what is held out where not given"""
    holdout_correlation: float = 0.4
    """correlation of local detail, one picture laid over the other, from which two pictures are copies"""

    def __post_init__(self) -> None:
        _at_least(self, 0, "holdout_hash_distance")
        for name in ("holdout_similarity", "holdout_correlation"):
            value = getattr(self, name)
            if value is not None and not -1 < value <= 1:
                raise ValueError(f"{name} {value} is no cosine or correlation; give a number above -1 and at most 1")


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
        _at_least(self, 1, "num_dedup_clusters")

    def search(self) -> dict[str, object]:
        """What the scores depend on; the other settings only decide by them."""
        return {"hash_radius": self.dedup_hash_radius, "num_clusters": self.num_dedup_clusters, "keep": self.dedup_keep}

    def decision(self) -> dict[str, object]:
        """What is decided by the scores."""
        return {"threshold": self.dedup_threshold, "hash_distance": self.dedup_hash_distance}


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
        _at_least(self, 1, "max_drift", "max_growth")
        _at_least(self, 0, "num_resamples")
        _at_least(self, 1, "max_iterations")


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
        _at_least(self, 1, "max_per_patient", "max_per_video", "max_per_site", "max_per_device")
        parse_weights(self.weights)

    @property
    def reads_metadata(self) -> bool:
        """Whether a selection depends on what manifests and headers say of the videos."""
        by_metadata = (self.max_per_patient, self.max_per_site, self.max_per_device)
        return any(cap is not None for cap in by_metadata) or any(
            weight.kind not in ("cluster", "video") for weight in parse_weights(self.weights)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardConfig:
    """How a dataset's images lie in tars."""

    images_per_shard: int = 1000
    """most images in a tar"""
    min_shards: int = 8
    """fewest tars, so that every reader of a pretraining has one; all tars hold the same number of images, or one apart"""
    remainder: Literal["spread", "top", "drop"] = "spread"
    """where tars do not come out even: spread lets some hold one image more, so that none is lost or comes twice; top gives those that are
    one short a frame of another tar once more; drop leaves out one image of those that have one more"""
    max_side: int | None = None
    """make images larger than this smaller, to this many pixels on the longer side, and encode them anew; bytes are copied unless given"""
    jpeg_quality: int = 90
    """of the images that max_side makes smaller"""

    def __post_init__(self) -> None:
        _at_least(self, 1, "images_per_shard", "min_shards", "max_side")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality {self.jpeg_quality} is no JPEG quality; give 1 to 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurateConfig:
    """Deduplication, clustering, sampling and sharding."""

    size: int
    """images wanted; all candidates are taken, and that is said, where there are fewer"""
    holdout: HoldoutConfig = field(default_factory=HoldoutConfig)
    nested: tuple[int, ...] = ()
    """sizes of further datasets, each within every larger one, named NAME-SIZE: --size 10000000 --nested 1000000 100000; the same size
    given later with the same settings and seed gives the same images"""
    dedup: DedupConfig = field(default_factory=DedupConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    shard: ShardConfig = field(default_factory=ShardConfig)
    seed: int = 0
    """of clustering, sampling and the order in the shards"""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size {self.size} is no number of images; give 1 or more")
        if len(set(self.nested)) < len(self.nested) or not all(1 <= nested < self.size for nested in self.nested):
            raise ValueError(f"nested {self.nested} are to lie within {self.size} images; give different sizes of 1 to {self.size - 1}")


def _at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise ValueError(f"{name} {value} is too small; give {least} or more")
