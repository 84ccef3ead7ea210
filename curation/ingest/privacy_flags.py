"""Videos that privacy filters took much of: what is said of them, and which frames wait in quarantine."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np

from curation.ingest.config import IngestConfig
from curation.ingest.scan import Sample
from curation.privacy import Box, blacked_out

__all__ = ["flag_sentences", "hidden_share", "mean_hidden_share", "outside_share", "quarantine_unconfirmed"]

_MOST_OUTSIDE = 0.5  # share of the samples; the view flagged_videos has the same


@functools.lru_cache(maxsize=1024)  # most samples of a video share their boxes
def hidden_share(boxes: tuple[Box, ...], size: tuple[int, int]) -> float:
    """Share of a picture of `size` = (width, height) pixels that the boxes cover together."""
    if not boxes:
        return 0.0
    return 1 - cv2.countNonZero(blacked_out(np.full(size[::-1], 255, np.uint8), boxes)) / (size[0] * size[1])


def mean_hidden_share(samples: Sequence[Sample]) -> float:
    """Mean of `hidden_share` over the samples that were looked at for text; 0 if none was."""
    shares = [hidden_share(sample.text_boxes, sample.stored_size) for sample in samples if sample.text_boxes is not None]
    return sum(shares) / len(shares) if shares else 0.0


def quarantine_unconfirmed(samples: Sequence[Sample], config: IngestConfig) -> None:
    """Mark the frames that wait for an audit: in a flagged video, those inside the body under a box that was not confirmed to be text.

    Samples without a known out-of-body score, or with one above the threshold, are dropped for that instead.
    """
    is_flagged = config.store_private and mean_hidden_share(samples) > config.max_text_share
    for sample in samples:
        is_inside = not math.isnan(sample.out_of_body) and sample.out_of_body <= config.max_out_of_body
        sample.is_unaudited = is_flagged and bool(sample.unconfirmed_boxes) and is_inside


def outside_share(samples: Sequence[Sample]) -> float:
    """Share of the samples that were dropped as out of body, or as too dark to tell."""
    return sum(sample.drop_reason in ("out_of_body", "out_of_body_unchecked") for sample in samples) / max(1, len(samples))


def flag_sentences(samples: Sequence[Sample], config: IngestConfig) -> list[str]:
    """The warnings of a video that is flagged for its boxes over text, or for what was dropped as out of body."""
    said = []
    if (share := mean_hidden_share(samples)) > config.max_text_share:
        num_waiting = sum(sample.drop_reason == "text_unaudited" for sample in samples)
        limit = f"above {config.max_text_share:.1%}"
        said.append(f"text: boxes hide {share:.1%} of its frames on average, {limit}; {num_waiting} frames wait for an audit")
    if (share := outside_share(samples)) > _MOST_OUTSIDE:
        said.append(f"out of body: {share:.0%} of its frames were dropped; check that they do not show the inside of a patient")
    return said
