"""What a run's folder holds besides checkpoints: its configuration, its lock, its best checkpoint; and how to continue from it."""

from __future__ import annotations

import fcntl
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from pretrain.checkpoint import (
    best_checkpoint,
    checkpoint_damage,
    export_teacher,
    finish_checkpoint,
    pending_checkpoints,
    prune,
    set_aside,
    step_dir,
    whole_checkpoints,
)
from pretrain.config import CheckpointConfig, PretrainConfig
from pretrain.failures import TrainingError
from pretrain.identity import learning_settings
from pretrain.metrics import MetricsLog
from pretrain.notices import note
from pretrain.parallel import full_tensor
from warehouse.store import canonical_json, read_json, write_json

__all__ = [
    "Scored",
    "Validate",
    "check_run_dir",
    "newest_step",
    "only_trainer",
    "record_score",
    "score_backbone",
    "validate_checkpoint",
    "validate_pending",
    "validate_start",
]

Validate = Callable[[str], tuple[str, float] | tuple[str, float, dict[str, float]]]
"""From an exported backbone's folder to the metric that chooses and its value, higher being better; and, if there are others to record,
those by name."""

_LOCK_WAIT_S = 60.0


def check_run_dir(run_dir: Path, config: PretrainConfig, *, dataset_id: str, run_id: str) -> None:
    """Write config.json into a new folder, or see that the folder belongs to this very run.

    Settings of the machine may have changed since. Then config.json gets the new ones, unless the run is finished.

    Raises:
        ValueError: the folder was started with other learning settings, another dataset or run id.
    """
    path = run_dir / "config.json"
    ours = _plain({"run_id": run_id, "dataset_id": dataset_id, "config": asdict(config)})
    if not path.exists():
        write_json(path, ours)
        return
    theirs = read_json(path)
    differences = _differences(_essential(theirs), _essential(ours))
    if differences:
        raise ValueError(
            f"{run_dir} holds a run with other settings ({'; '.join(differences[:3])}); give them back or choose a new run folder"
        )
    if theirs != ours and not (run_dir / "result.json").exists():
        write_json(path, ours)


def _plain(value: object) -> Any:
    """As it is after a trip through JSON: tuples are lists."""
    return json.loads(canonical_json(value))


def _essential(run: dict[str, Any]) -> dict[str, Any]:
    return run | {"config": learning_settings(run["config"])}


def _differences(theirs: Any, ours: Any, name: str = "") -> list[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = sorted(theirs.keys() | ours.keys())
        return [text for key in keys for text in _differences(theirs.get(key), ours.get(key), f"{name}.{key}".removeprefix(".config."))]
    return [] if theirs == ours else [f"{name.removeprefix('.')} was {theirs!r} and is now {ours!r}"]


@contextmanager
def only_trainer(run_dir: Path) -> Iterator[None]:
    """Hold the run folder against a second writer, such as a worker that outlives its killed driver by some seconds.

    Raises:
        TrainingError: another process still trains here after a minute.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / ".lock").open("w") as file:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not inherited by loader processes
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise TrainingError(f"another process trains in {run_dir}; wait for it or stop it") from None
                time.sleep(0.2)
        yield


def newest_step(run_dir: Path) -> int:
    """Step of the newest checkpoint whose state is as it was written, 0 if there is none. Damaged ones are named and set aside."""
    steps = sorted([saved.step for saved in whole_checkpoints(run_dir)] + pending_checkpoints(run_dir), reverse=True)
    for step, before in pairwise([*steps, 0]):
        fault = checkpoint_damage(run_dir, step)
        if fault is None:
            return step
        aside = set_aside(run_dir, step)
        instead = f"going on from the one of step {before}" if before else "there is none before it, so training starts again from step 0"
        note(run_dir, f"the checkpoint of step {step} is damaged ({fault}) and is now {aside}: {instead}; check this disk")
    return 0


def validate_checkpoint(run_dir: Path, step: int, validate: Validate | None, metrics: MetricsLog, config: CheckpointConfig) -> None:
    """Score a saved checkpoint, record the score everywhere it belongs and delete checkpoints that need not stay.

    Raises:
        ValueError: the score is not a finite number.
    """
    record_score(run_dir, step, score_backbone(validate, step_dir(run_dir, step) / "backbone", step), metrics, config)


def record_score(
    run_dir: Path, step: int, scored: Scored, metrics: MetricsLog, config: CheckpointConfig, *, failed: Sequence[int] = ()
) -> None:
    """Record a checkpoint's score everywhere it belongs and delete checkpoints that need not stay; `failed` as in `prune`."""
    metrics.write(step, scored.values)
    finish_checkpoint(run_dir, step, scored.metric, scored.score)
    prune(run_dir, keep_best=config.keep_best, keep_every=config.keep_every, failed=failed)
    best = best_checkpoint(whole_checkpoints(run_dir))
    write_json(run_dir / "best.json", {**asdict(best), "path": f"checkpoints/{step_dir(run_dir, best.step).name}/backbone"})


def validate_pending(run_dir: Path, validate: Validate | None, metrics: MetricsLog, config: CheckpointConfig) -> None:
    """Finish checkpoints whose validation was interrupted."""
    for step in pending_checkpoints(run_dir):
        validate_checkpoint(run_dir, step, validate, metrics, config)


def validate_start(run_dir: Path, teacher: nn.Module, config: PretrainConfig, validate: Validate, metrics: MetricsLog | None) -> None:
    """Score the random weights of step 0, where the curve starts; every worker must call it."""
    weights = {name: full_tensor(tensor).cpu() for name, tensor in teacher.state_dict().items()}
    if metrics is None:
        return
    folder = run_dir / "checkpoints" / "start.tmp"
    export_teacher(folder, weights, config, card={"step": 0})
    metrics.write(0, score_backbone(validate, folder / "backbone", 0).values)
    shutil.rmtree(folder)


class Scored(NamedTuple):
    """What a validation gave."""

    metric: str
    """name of the one that chooses"""
    score: float
    """its value, higher being better"""
    values: dict[str, float]
    """row to record: all scores, and once more the one that chooses under a name that every run has, `validation/score`"""


def score_backbone(validate: Validate | None, backbone: Path, step: int) -> Scored:
    """Score an exported backbone.

    Raises:
        ValueError: the score is not a finite number.
    """
    metric, score, *others = validate(str(backbone)) if validate else ("step", float(step))
    if not math.isfinite(score):
        raise ValueError(f"validation gave {metric} = {score} at step {step}; it must give a finite number, higher being better")
    values = {metric: score} | (others[0] if others else {}) | {"score": score}
    return Scored(metric, score, {f"validation/{name}": value for name, value in values.items()})
