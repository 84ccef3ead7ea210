"""What is kept and why the rest is not: the one rule, over the scores of a whole video, at ingest and whenever thresholds change later."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation.filters import (
    SURELY_ROOM,
    SURELY_WARM,
    Floats,
    FrameThresholds,
    frame_filters,
    hamming,
    near_duplicate_runs,
    room_scores,
    score_names,
    stool_shares,
    warm_share,
)
from curation.ingest.config import IngestConfig
from curation.ingest.privacy_flags import quarantine_unconfirmed
from curation.ingest.scan import Sample
from curation.privacy import out_of_body_scores, smooth_scores

__all__ = [
    "FrameScores",
    "decide",
    "decide_film",
    "drop_reasons",
    "failed_tests",
    "frozen_samples",
    "is_spare",
    "outside_scores",
    "quality_reasons",
    "scores_of",
    "spare_reasons",
]

_TISSUE_COLORS = 0.3  # score of colours up to which a frame never speaks for a room, whatever threshold is set
_MOST_BRIGHT = 0.1  # overexposed phantom frames have evidence up to 10.2
_FREEZE_HASH_DISTANCE = 2  # bits near the median flip with the coding noise of an unchanged picture


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScores:
    """What is known of one video's samples, in time order: every field has one value a sample.

    The numbers are 32-bit floats, as the lake stores them, so that ingest and a later decision compare the same values.
    """

    numbers: Mapping[str, Floats]
    """each score by the name of its filter; NaN where it is not known, and then nothing is dropped for it but as out_of_body_unchecked"""
    phash: Sequence[int | None]
    """None where there is none: then a sample is like no other"""
    settled: Sequence[str | None]
    """why a sample is dropped whatever the thresholds: it is corrupt, or was dropped for privacy, and only an audit brings it back"""
    is_stored: npt.NDArray[np.bool_]
    """whether there are pixels"""


@functools.cache
def spare_reasons() -> frozenset[str]:
    """Why a frame may be dropped whose picture is stored nevertheless: other thresholds may want it."""
    return frozenset(each.reason for each in frame_filters() if each.reason and not each.is_private) | {"frozen", "near_duplicate"}


def is_spare(sample: Sample) -> bool:
    """Whether other thresholds may want the picture of a dropped sample, and privacy would let them."""
    return sample.drop_reason in spare_reasons() and not math.isnan(sample.out_of_body)


def failed_tests(scores: FrameScores, thresholds: FrameThresholds) -> dict[str, npt.NDArray[np.bool_]]:
    """For each reason for which a sample can be dropped on its own, apart from its neighbours, where it applies: [num_frames].

    In order: of several reasons the first counts.
    """
    tests: dict[str, npt.NDArray[np.bool_]] = {}
    for each in frame_filters():
        if each.reason:
            fails = each.fails(scores.numbers, thresholds.value(each.option))
            tests[each.reason] = tests[each.reason] | fails if each.reason in tests else fails
    # too dark to judge, and by these thresholds not too dark to keep
    return {**tests, "out_of_body_unchecked": np.isnan(scores.numbers["out_of_body"])}


def quality_reasons(scores: FrameScores, thresholds: FrameThresholds) -> list[str | None]:
    """The first reason of its own for which each sample is dropped; None for the usable ones."""
    tests = failed_tests(scores, thresholds)
    names = [None, *tests]
    first = np.select(list(tests.values()), range(1, len(names)), 0)
    return [settled or names[number] for settled, number in zip(scores.settled, first.tolist(), strict=True)]


def frozen_samples(scores: FrameScores, thresholds: FrameThresholds) -> list[int]:
    """Positions of the samples that repeat the one before: as good as no motion, and the same perceptual hash but for coding noise."""
    still = np.flatnonzero(scores.numbers["motion"] < thresholds.freeze_motion).tolist()
    hashes = [(scores.phash[each - 1], scores.phash[each]) for each in still]
    return [
        each
        for each, (before, now) in zip(still, hashes, strict=True)
        if each and before is not None and now is not None and hamming(before, now) <= _FREEZE_HASH_DISTANCE
    ]


def drop_reasons(scores: FrameScores, thresholds: FrameThresholds) -> list[str | None]:
    """The first reason for which each sample of one video is dropped; None for those that are kept.

    A run of near duplicates keeps its sharpest member of those that have pixels. Where none has any, the sharpest is `not_stored`: it would
    have been kept.
    """
    reasons, blur = quality_reasons(scores, thresholds), scores.numbers["blur"]
    for position in frozen_samples(scores, thresholds):
        reasons[position] = reasons[position] or "frozen"
    usable = [position for position, reason in enumerate(reasons) if reason is None]
    hashed = {position: value for position in usable if (value := scores.phash[position]) is not None}
    runs = near_duplicate_runs(list(hashed.values()), thresholds.max_hash_distance)
    positions = list(hashed)
    alike = [[positions[place] for place in run] for run in runs]
    for members in [*alike, *([position] for position in usable if position not in hashed)]:
        stored = [position for position in members if scores.is_stored[position]]
        best = max(stored or members, key=lambda position: (blur[position], -position))
        for position in members:
            reasons[position] = "near_duplicate" if position != best else None if stored else "not_stored"
    return reasons


def outside_scores(
    profiles: Sequence[np.ndarray], evidence: np.ndarray, bright_shares: np.ndarray, *, times_s: np.ndarray | None
) -> np.ndarray:
    """How sure it is, 0 to 1, that each frame of one video shows a room, by its colours and structure or by plain structure alone.

    Args:
        profiles: [num_frames] from `color_profile`, in time order.
        evidence: [num_frames] from `room_evidence`; NaN where all is warm or nothing lit.
        bright_shares: [num_frames] overexposed part of the content, 0 to 1; edges of such patches are no structure.
        times_s: [num_frames] presentation times in seconds; None for stills.

    Returns:
        [num_frames]; NaN where a frame is too dark to judge.
    """
    by_color = out_of_body_scores(profiles)
    is_warm = np.array([warm_share(profile) >= SURELY_WARM for profile in profiles], bool)
    by_structure = room_scores(np.where(is_warm, np.nan, evidence), by_color <= _TISSUE_COLORS, times_s=times_s)
    is_room = ~np.isnan(by_color) & (evidence >= SURELY_ROOM) & (bright_shares <= _MOST_BRIGHT)
    return np.where(is_room, 1.0, np.minimum(by_color, by_structure))


def decide(samples: list[Sample], config: IngestConfig, *, in_time: bool = True) -> None:
    """Give every sample of a video the scores that need the others and, where it is dropped, the first reason that applies.

    Where neighbours are not `in_time`, as with stills, nothing is smoothed over them.
    """
    profiles = [sample.colors for sample in samples]
    evidence = np.array([sample.room_evidence for sample in samples])
    times_s = np.array([sample.pts_us for sample in samples]) / 1e6 if in_time else None
    scores = outside_scores(profiles, evidence, np.array([sample.scores["bright_share"] for sample in samples]), times_s=times_s)
    out_of_body = smooth_scores(scores, _window(samples, config) if in_time else 1)
    for sample, score, share in zip(samples, out_of_body.tolist(), stool_shares(profiles).tolist(), strict=True):
        sample.out_of_body, sample.scores["stool_share"] = score, share
    quarantine_unconfirmed(samples, config)
    for sample, reason in zip(samples, drop_reasons(scores_of(samples, config), config), strict=True):
        sample.drop_reason = reason


decide_film = decide
"""the same under a name that no module has, for other rooms"""


def _settled(sample: Sample, config: IngestConfig) -> str | None:
    """Why a sample is dropped whatever the thresholds say."""
    if sample.is_corrupt:
        return "corrupt"
    if sample.is_text_unchecked:
        return "text_unchecked"
    if config.text == "drop" and sample.text_boxes:
        return "text"
    return "text_unaudited" if sample.is_unaudited else None


def scores_of(samples: Sequence[Sample], config: IngestConfig) -> FrameScores:
    """The samples' scores as columns, as the rule wants them."""
    numbers = {name: np.array([sample.scores[name] for sample in samples], np.float32) for name in score_names() if name != "out_of_body"}
    return FrameScores(
        numbers={**numbers, "out_of_body": np.array([sample.out_of_body for sample in samples], np.float32)},
        phash=[sample.phash for sample in samples],
        settled=[_settled(sample, config) for sample in samples],
        is_stored=np.ones(len(samples), bool),
    )


def _window(samples: list[Sample], config: IngestConfig) -> int:
    """Samples in the smoothing window: an odd number."""
    if len(samples) < 2:
        return 1
    interval_s = (samples[-1].pts_us - samples[0].pts_us) / 1e6 / (len(samples) - 1)
    return 2 * math.floor(config.out_of_body_window_s / 2 / interval_s) + 1
