"""Settings of shards. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from curation.limits import at_least

__all__ = ["ShardConfig"]


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
        at_least(self, 1, "images_per_shard", "min_shards", "max_side")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality {self.jpeg_quality} is no JPEG quality; give 1 to 100")
