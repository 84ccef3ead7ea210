"""A score computed again from what its evaluation kept, told in sentences."""

from __future__ import annotations

import math
from pathlib import Path

from evaluation.backbone import BackboneError
from evaluation.heads import HeadError
from evaluation.replay import StoredScore, from_head, from_predictions, open_score
from evaluation.tasks import TaskError
from evaluation.video.clip_frames import ClipError
from flows.runners import say
from flows.stages.clip_reading import CLIP_SOURCE
from flows.stages.video_network import find_video_network
from warehouse.lake import Lake
from warehouse.queries import score_with_id
from warehouse.records import Score

__all__ = ["run_replay_score"]

_EQUAL = 1e-6
"""numbers nearer than this are one: features of the same weights differ by rounding between machines"""


def run_replay_score(lake: Lake, score_id: str, *, data: Path | None, device: str = "auto", num_workers: int = 2) -> bool:
    """Compute a score again and say whether it is the same number; nothing is trained or recorded.

    Args:
        lake: that holds the score.
        score_id: its id, or a unique start of it of eight characters or more.
        data: folder of the evaluation set; where the evaluation found it unless given.
        device: auto, cpu or cuda.
        num_workers: threads that decode images.

    Returns:
        Whether every number that could be computed is the stored one.

    Raises:
        ValueError: there is no such score.
        HeadError: it has no stored predictions, or its number can be computed from nothing that is left.
    """
    score = score_with_id(lake, score_id)
    stored = open_score(score, lake.root)
    say(f"score {score.score_id}: {score.task} {score.head} {score.metric} {score.value:.6f} of {score.model}, {score.num_items} items")
    folder = stored.data if data is None else data if data.is_dir() else data.parent  # of a CSV its folder
    found: list[float] = []
    try:
        found.append(from_predictions(stored, folder))
        say(f"from its stored predictions: {_compared(score, found[0])}")
    except (HeadError, TaskError) as error:
        say(f"not from its stored predictions: {error}")
    again = _from_head(stored, folder, device, num_workers)
    if again is not None:
        found.append(again)
        say(f"from its stored head, on features computed again: {_compared(score, again)}")
    if not found:
        raise HeadError(f"score {score.score_id} cannot be computed again from what is left; evaluate again")
    return all(_is_same(score, value) for value in found)


def _from_head(stored: StoredScore, data: Path, device: str, num_workers: int) -> float | None:
    try:
        return from_head(stored, data, device=device, num_workers=num_workers, clips=CLIP_SOURCE, clip_network=find_video_network)
    except (HeadError, BackboneError, TaskError, ClipError) as error:
        say(f"not from its stored head: {error}")
        return None


def _is_same(score: Score, value: float) -> bool:
    return abs(value - score.value) <= _EQUAL or (math.isnan(value) and math.isnan(score.value))


def _compared(score: Score, value: float) -> str:
    if _is_same(score, value):
        return f"{value:.6f}, the same number"
    return f"{value:.6f}, ANOTHER number: it differs by {value - score.value:+.6f}"
