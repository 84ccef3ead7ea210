"""What a pretraining run's metrics say, for its report: the score by which it was chosen, each loss, signs of collapse and plateaus."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from evaluation.report import CurvePoint, LossCurve, Note, TrainingCurve
from pretrain.reference_curves import reference_ranges
from pretrain.watch import signs_of
from pretrain.watcher import limits_of, rows_by_step
from warehouse import summary
from warehouse.lake import Lake
from warehouse.records import Checkpoint

__all__ = ["Training", "loss_curves", "read_training", "training_curve", "training_signs"]


class Training(NamedTuple):
    """Settings and metrics of a run."""

    config: dict[str, Any]
    """as the run's config.json has it under `config`"""
    metrics: dict[int, dict[str, float]]
    """by step and name"""


def training_curve(lake: Lake, best: Checkpoint) -> TrainingCurve:
    """The total loss and the score of the run that a checkpoint is of."""

    def curve(name: str) -> tuple[CurvePoint, ...]:
        return tuple(CurvePoint(step=step, value=value) for step, value in summary.training_curve(lake, best.run_id, name))

    return TrainingCurve(
        loss=curve("loss/total"),
        score=curve(f"validation/{best.validation_metric}"),
        score_name=best.validation_metric,
        chosen_step=best.step,
    )


def read_training(lake: Lake, run_id: str) -> Training:
    """What a finished run recorded."""
    (run,) = lake.rows("SELECT config FROM runs WHERE run_id = $1 AND status = 'complete' LIMIT 1", [run_id])
    rows = lake.rows("SELECT step, name, value FROM train_metrics WHERE run_id = $1", [run_id])
    return Training(json.loads(run["config"]), dict(rows_by_step((row["step"], row["name"], row["value"]) for row in rows)))


def training_signs(training: Training) -> tuple[Note, ...]:
    """What a run's metrics say of collapse and plateaus."""
    signs = signs_of(training.metrics.items(), limits_of(training.config))
    return tuple(Note(level="info" if sign.kind == "plateau" else "warning", text=f"Training: {sign.sentence}.") for sign in signs)


def loss_curves(training: Training) -> tuple[LossCurve, ...]:
    """Each loss of a run beside what it is where the student, or the teacher, guesses; a loss that the run lacks is left out."""
    config, metrics = training
    ln_k = math.log(config["dino_head"]["num_prototypes"])
    ibot_head = config["ibot_head"] or config["dino_head"]
    masked = config["mask"]["probability"]  # crops without a mask count in iBOT's mean as zero
    guesses = masked * math.log(ibot_head["num_prototypes"])
    ranges = reference_ranges(config)
    shown = {
        "DINO cross-entropy": (("loss/dino_global", "loss/dino_local"), ln_k, "ln K: guesses"),
        "iBOT cross-entropy": (("loss/ibot",), guesses, f"{masked:g} ln K: guesses"),
        "KoLeo": (("loss/koleo",), None, ""),
        "Gram distance": (("loss/gram",), None, ""),
        "entropy of the teacher": (("teacher/entropy",), ln_k, "ln K: says nothing"),
    }
    curves = (
        LossCurve(name=name, points=_summed(metrics, parts), level=level, level_name=label, reference=ranges.get(name, ()))
        for name, (parts, level, label) in shown.items()
    )
    return tuple(curve for curve in curves if curve.points)


def _summed(metrics: Mapping[int, Mapping[str, float]], parts: tuple[str, ...]) -> tuple[tuple[int, float], ...]:
    return tuple((step, sum(row[part] for part in parts)) for step, row in metrics.items() if all(part in row for part in parts))
