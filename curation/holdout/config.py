"""Settings of the hold-out search. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from curation.limits import at_least

__all__ = ["HoldoutConfig"]


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
        at_least(self, 0, "holdout_hash_distance")
        for name in ("holdout_similarity", "holdout_correlation"):
            value = getattr(self, name)
            if value is not None and not -1 < value <= 1:
                raise ValueError(f"{name} {value} is no cosine or correlation; give a number above -1 and at most 1")
