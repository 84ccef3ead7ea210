"""The leak verdicts that stand with each score: within the evaluation data, and between it and what the model learned from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.holdout import HoldoutError, picture_correlation, read_holdout
from curation.sources import patient_key
from evaluation.leakage import LEAKAGE_VERSION, Copy, LeakVerdict, find_leaks
from evaluation.tasks import Fingerprint, TaskData
from flows.runners import say
from warehouse.lake import Lake
from warehouse.overlap import held_out_lists, learned_elsewhere, num_in_datasets, training_datasets
from warehouse.store import content_id, read_json, write_json

__all__ = ["pretraining_overlap", "split_leaks"]


def split_leaks(lake: Lake, task: TaskData, identity: Fingerprint, *, num_workers: int) -> LeakVerdict:
    """What the splits of a task share; looked for once per content and stored in the lake's working folder."""
    key = content_id([LEAKAGE_VERSION, identity.data_id, [item.group in ("", item.path) for item in task.items]])
    stored = lake.root / "staging" / "evaluate" / f"leaks-{key}.json"
    if stored.is_file():
        found = read_json(stored)
        pairs = [{**pair, "correlation": float("nan") if pair["correlation"] is None else pair["correlation"]} for pair in found["copies"]]
        return LeakVerdict(**{**found, "copies": tuple(Copy(**pair) for pair in pairs)})
    say(f"evaluate: {task.name}: comparing the splits' {len(task.items):,} images with each other")
    verdict = find_leaks(task, identity.hashes, judge=None if task.has_clips else _correlation, num_workers=num_workers)
    told = asdict(verdict)
    told["copies"] = [{**pair, "correlation": None if np.isnan(pair["correlation"]) else pair["correlation"]} for pair in told["copies"]]
    write_json(stored, told)
    return verdict


def pretraining_overlap(lake: Lake, checkpoint_id: str, task: TaskData, identity: Fingerprint, data: Path) -> str:
    """Whether test images are among those that a checkpoint learned from.

    Args:
        lake: that made the checkpoint, or did not.
        checkpoint_id: of the model.
        task: whose test items are looked for.
        identity: of the task.
        data: the task's folder.

    Returns:
        `overlap n`: n test files are JPEGs of the training data, byte by byte; `clean`: there are none, `curate --holdout` was given
        this very folder, so that copies were left out too, and no weights of others were its start; `unknown`: else.
    """
    datasets = training_datasets(lake, checkpoint_id)
    if not datasets:
        return "unknown"
    tested = {sha256 for item, sha256 in zip(task.items, identity.hashes, strict=True) if item.split == "test"}
    if same := num_in_datasets(lake, tested, datasets):
        return f"overlap {same}"
    if learned_elsewhere(lake, checkpoint_id):
        return "unknown"
    lists = [held_out_lists(lake, dataset_id) for dataset_id in datasets]
    if not all(lists):
        return "unknown"
    try:
        own = read_holdout((str(data),), patient_key()).list_id
    except HoldoutError:
        return "unknown"
    return "clean" if all(own in held for held in lists) else "unknown"


def _correlation(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    return picture_correlation(first, second)
