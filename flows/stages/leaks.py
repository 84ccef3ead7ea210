"""The leak verdicts that stand with each score: within the evaluation data, and between it and what the model learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curation.holdout import HoldoutError, picture_correlation, read_holdout
from curation.sources import patient_key
from evaluation.config import EvaluateConfig
from evaluation.leakage import LEAKAGE_VERSION, Copy, LeakVerdict, find_leaks
from evaluation.tasks import Fingerprint, Item, TaskData
from flows.runners import say
from flows.stages.leak_search import by_embedding, item_vectors, num_near_training
from warehouse.lake import Lake
from warehouse.overlap import held_out_lists, learned_elsewhere, num_in_datasets, training_datasets
from warehouse.store import content_id, read_json, write_json

__all__ = ["pretraining_overlap", "split_leaks"]


def split_leaks(lake: Lake, task: TaskData, identity: Fingerprint, config: EvaluateConfig) -> LeakVerdict:
    """What the splits of a task share, by file, group, picture and embedding; looked for once per content and kept."""
    told_apart = [item.group in ("", item.path) for item in task.items]
    key = content_id([LEAKAGE_VERSION, identity.data_id, task.are_patients, told_apart])
    stored = lake.root / "staging" / "evaluate" / f"leaks-{key}.json"
    if stored.is_file():
        found = read_json(stored)
        pairs = [{**pair, "correlation": float("nan") if pair["correlation"] is None else pair["correlation"]} for pair in found["copies"]]
        return LeakVerdict(**{**found, "copies": tuple(Copy(**pair) for pair in pairs)})
    say(f"evaluate: {task.name}: comparing the splits' {len(task.items):,} {'clips' if task.has_clips else 'images'} with each other")
    propose = None if task.has_clips else by_embedding(item_vectors(task.items, config))
    judge = None if task.has_clips else _correlation
    verdict = find_leaks(task, identity.hashes, judge=judge, propose=propose, num_workers=config.num_workers)
    told = asdict(verdict)
    told["copies"] = [{**pair, "correlation": None if np.isnan(pair["correlation"]) else pair["correlation"]} for pair in told["copies"]]
    write_json(stored, told)
    return verdict


def pretraining_overlap(lake: Lake, checkpoint_id: str, task: TaskData, identity: Fingerprint, data: Path, config: EvaluateConfig) -> str:
    """Whether test images are among those that a checkpoint learned from.

    Args:
        lake: that made the checkpoint, or did not.
        checkpoint_id: of the model.
        task: whose test items are looked for.
        identity: of the task.
        data: the task's folder.
        config: whose device embeds the test images.

    Returns:
        `overlap n`: n test images are JPEGs of the training data, byte by byte, or show the same as one; `clean`: there are none, and no
        weights of others were the model's start; `unknown`: else. Of a set that `curate --holdout` was given copies were left out then.
        Clips are compared byte by byte alone.

    Raises:
        TaskError: a test image does not decode.
    """
    datasets = training_datasets(lake, checkpoint_id)
    if not datasets:
        return "unknown"
    tested = [(sha256, item) for item, sha256 in zip(task.items, identity.hashes, strict=True) if item.split == "test"]
    same = num_in_datasets(lake, [sha256 for sha256, _ in tested], datasets)
    if task.has_clips:
        near = None
    else:
        near = 0 if _is_held_out(lake, datasets, data) else _near(lake, tested, datasets, config)
    if same or near:
        return f"overlap {max(same, near or 0)}"
    return "unknown" if near is None or learned_elsewhere(lake, checkpoint_id) else "clean"


def _is_held_out(lake: Lake, datasets: Sequence[str], data: Path) -> bool:
    """Whether `curate --holdout` was given this very folder."""
    lists = [held_out_lists(lake, dataset_id) for dataset_id in datasets]
    if not all(lists):
        return False
    try:
        own = read_holdout((str(data),), patient_key()).list_id
    except HoldoutError:
        return False
    return all(own in held for held in lists)


def _near(lake: Lake, tested: Sequence[tuple[str, Item]], datasets: Sequence[str], config: EvaluateConfig) -> int | None:
    """Test images that show the same as a training frame, looked for once and kept; None if that cannot be known."""
    key = content_id([LEAKAGE_VERSION, "training", sorted([sha256, item.box or ()] for sha256, item in tested), sorted(datasets)])
    stored = lake.root / "staging" / "evaluate" / f"leaks-{key}.json"
    if stored.is_file():
        return int(read_json(stored)["num_near"])
    say(f"evaluate: looking for {len(tested):,} test images among the frames that the model learned from")
    found = num_near_training(lake, [item for _, item in tested], datasets, config)
    if found is not None:
        write_json(stored, {"num_near": found})
    return found


def _correlation(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    return picture_correlation(first, second)
