"""How well each filter tells the frames it is for from clean ones: ROC on phantom video, whose truth is known frame by frame.

Usage: python tests/benchmarks/bench_filters.py [--videos 12] [--seconds 40] [--size 320] [--fps 6]
Positives are the frames that the phantom disturbed in this way, negatives those that it disturbed in none. "AUC within" is the mean over
videos, weighted by positives: where it is above the AUC over all, devices differ, and `requalify` with percentiles by device gains. It is
at the default thresholds that sensitivity and specificity are told, and these are set so that hardly a frame of real tissue is dropped for
colour or texture: `requalify` tightens them where an archive can afford more. Text burned into some videos makes their blurred frames look
sharp. At 12 frames a second and more a slow camera looks frozen; the default of 6 leaves some motion.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from curation.filters.sharpness import exposed_blur
from curation.ingest.config import IngestConfig
from curation.ingest.decide import decide, failed_tests, frozen_samples, scores_of
from curation.ingest.scan import scan_video
from curation.phantom.config import PhantomConfig
from curation.phantom.phantom import render_video
from curation.video import UnreadableVideo
from tests.helpers.phantoms import read_truth

SPECULAR_SHARE = 0.002  # of the content area; more counts as a frame with reflections
FILTERS = ("blur", "dark", "bright", "specular", "bubbles", "stool", "freeze", "out_of_body")
REASONS = {"blur": "blurred", "dark": "too_dark", "bright": "too_bright"}
FLAGS = ("blur", "dark", "bright", "freeze", "bubbles", "stool", "out_of_body")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roc:
    """How one filter does."""

    auc: float
    auc_within: float
    sensitivity: float
    specificity: float
    num_positive: int
    num_negative: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One video's samples: what is true of each, how each filter scores it (higher is worse), and which it would drop."""

    truth: list[dict[str, Any]]
    score: dict[str, npt.NDArray[np.float32]]
    dropped: dict[str, npt.NDArray[np.bool_]]


def judge(path: Path, config: IngestConfig) -> Judged:
    """Ingest's scores and verdicts of a phantom video, beside the truth of the same moments."""
    with tempfile.TemporaryFile() as spool:
        scan = scan_video(str(path), config, spool)
    if isinstance(scan, UnreadableVideo):
        raise scan
    decide(scan.samples, config)
    scores = scores_of(scan.samples, config)
    numbers = scores.numbers
    _, table = read_truth(path.with_name(f"{path.stem}.truth.parquet"))
    by_time = {round(row["pts_us"] / 1000): row for row in table.to_pylist()}
    truth = [by_time[round(sample.pts_us / 1000)] for sample in scan.samples]
    frozen = np.zeros(len(truth), bool)
    frozen[frozen_samples(scores, config)] = True
    return Judged(
        truth=truth,
        score={
            "blur": -exposed_blur(numbers),
            "dark": -numbers["luma"],
            "bright": numbers["bright_share"],
            "specular": numbers["specular_share"],
            "bubbles": numbers["bubble_share"],
            "stool": numbers["stool_share"],
            "freeze": -np.nan_to_num(numbers["motion"], nan=255.0),
            "out_of_body": numbers["out_of_body"],
        },
        dropped={**failed_tests(scores, config), "freeze": frozen},
    )


def roc_of_filters(videos: Sequence[Judged]) -> dict[str, Roc]:
    """The ROC of each filter over all frames of all videos that are positive or negative for it."""
    truth = [row for video in videos for row in video.truth]
    is_clean = np.array([not any(row[flag] for flag in FLAGS) and row["specular_share"] < SPECULAR_SHARE for row in truth])
    of_video = np.repeat(np.arange(len(videos)), [len(video.truth) for video in videos])
    found: dict[str, Roc] = {}
    for name in FILTERS:
        is_positive = np.array([_is_positive(row, name) for row in truth])
        counts = is_positive | is_clean
        score = np.concatenate([video.score[name] for video in videos])
        dropped = np.concatenate([video.dropped[REASONS.get(name, name)] for video in videos])
        found[name] = Roc(
            auc=float(roc_auc_score(is_positive[counts], score[counts])),
            auc_within=_auc_within(is_positive, is_clean, score, of_video),
            sensitivity=float(dropped[is_positive].mean()),
            specificity=float((~dropped[is_clean]).mean()),
            num_positive=int(is_positive.sum()),
            num_negative=int(is_clean.sum()),
        )
    return found


def _auc_within(
    is_positive: npt.NDArray[np.bool_], is_clean: npt.NDArray[np.bool_], score: npt.NDArray[np.float32], of_video: npt.NDArray[np.int64]
) -> float:
    values, weights = [], []
    for video in np.unique(of_video):
        here = (of_video == video) & (is_positive | is_clean)
        if 0 < is_positive[here].sum() < here.sum():
            values.append(roc_auc_score(is_positive[here], score[here]))
            weights.append(is_positive[here].sum())
    return float(np.average(values, weights=weights))


def _is_positive(row: dict[str, Any], name: str) -> bool:
    if name == "specular":
        return bool(row["specular_share"] >= SPECULAR_SHARE and not any(row[flag] for flag in FLAGS))
    return bool(row[name])


def phantom_videos(folder: Path, config: PhantomConfig, patients: Iterable[int]) -> list[Path]:
    """Render the patients' videos."""
    return [render_video(folder / f"{patient}.mp4", config=config, patient=patient).path for patient in patients]


def main() -> None:
    """Render, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--fps", type=float, default=6)
    arguments = parser.parse_args()
    config = IngestConfig(fps=arguments.fps)
    phantom = PhantomConfig(num_train_videos=arguments.videos, seconds=arguments.seconds, size=arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        videos = [judge(path, config) for path in phantom_videos(Path(folder), phantom, range(arguments.videos))]
    print(f"{arguments.videos} phantom videos of {arguments.seconds:g} s, {sum(len(video.truth) for video in videos)} frames")
    print(f"{'filter':12s}{'AUC':>8s}{'AUC within':>12s}{'sensitivity':>13s}{'specificity':>13s}{'positives':>11s}{'negatives':>11s}")
    for name, roc in roc_of_filters(videos).items():
        numbers = f"{roc.auc:8.3f}{roc.auc_within:12.3f}{roc.sensitivity:13.3f}{roc.specificity:13.3f}"
        print(f"{name:12s}{numbers}{roc.num_positive:11d}{roc.num_negative:11d}")


if __name__ == "__main__":
    main()
