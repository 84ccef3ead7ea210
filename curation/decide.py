"""Second pass over a video's samples: which are kept, and why the others are not."""

from __future__ import annotations

import math

from curation.config import IngestConfig
from curation.phash import hamming, near_duplicate_runs
from curation.privacy import out_of_body_scores, smooth_scores
from curation.quality import quality_verdict
from curation.scan import Sample

__all__ = ["decide"]

_FREEZE_HASH_DISTANCE = 2  # bits near the median flip with the coding noise of an unchanged picture


def decide(samples: list[Sample], config: IngestConfig) -> None:
    """Give every sample its smoothed score and, where it is dropped, the first reason that applies."""
    scores = smooth_scores(out_of_body_scores([sample.colors for sample in samples]), _window(samples, config))
    for position, (sample, score) in enumerate(zip(samples, scores, strict=True)):
        sample.out_of_body = float(score)
        if sample.is_corrupt:
            sample.drop_reason = "corrupt"
        elif score > config.max_out_of_body:
            sample.drop_reason = "out_of_body"
        elif sample.is_text_unchecked:
            sample.drop_reason = "text_unchecked"
        elif config.text == "drop" and sample.text_boxes:
            sample.drop_reason = "text"
        else:
            _, sample.drop_reason = quality_verdict(sample.quality, config)
        if sample.drop_reason is None and position and sample.quality.motion < config.freeze_motion:
            if hamming(sample.phash, samples[position - 1].phash) <= _FREEZE_HASH_DISTANCE:
                sample.drop_reason = "frozen"
    kept = [sample for sample in samples if sample.drop_reason is None]
    for run in near_duplicate_runs([sample.phash for sample in kept], config.max_hash_distance):
        sharpest = max(run, key=lambda position: (kept[position].quality.blur, -position))
        for position in run:
            if position != sharpest:
                kept[position].drop_reason = "near_duplicate"


def _window(samples: list[Sample], config: IngestConfig) -> int:
    """Samples in the smoothing window: an odd number."""
    if len(samples) < 2:
        return 1
    interval_s = (samples[-1].pts_us - samples[0].pts_us) / 1e6 / (len(samples) - 1)
    return 2 * math.floor(config.out_of_body_window_s / 2 / interval_s) + 1
