"""When a run's checkpoints are scored, and by whom: by its first worker while the others wait, or beside training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pretrain.beside import awaited, export_untrained, take_scores
from pretrain.checkpoint import save_checkpoint, step_dir
from pretrain.config import PretrainConfig
from pretrain.guard import check_guard, keep_baseline
from pretrain.initial import has_initial
from pretrain.metrics import MetricsLog
from pretrain.notices import note
from pretrain.parallel import Worker
from pretrain.run_folder import Validate, validate_checkpoint, validate_pending, validate_start
from pretrain.state import TrainingState, state_tensors

__all__ = ["Ask", "Beside", "Inside", "Run", "Scoring"]

Ask = Callable[[str | None], None]
"""Called on every worker; on the first one with the name of a folder under checkpoints/ that is to be scored."""

_LOOK_EVERY_S = 1.0
_MANY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What scoring needs to know of a run, on one worker."""

    run_dir: Path
    run_id: str
    config: PretrainConfig
    worker: Worker
    state: TrainingState
    metrics: MetricsLog | None
    """on the first worker"""


class Scoring(Protocol):
    """What training calls; every worker does."""

    def start(self, *, first_step: int) -> None:
        """Score what is there before the first step: checkpoints without a score, and the weights of step 0."""

    def checkpoint(self, step: int) -> None:
        """Score the checkpoint that was just saved."""

    def after_step(self, step: int) -> None:
        """Take in what was scored meanwhile."""


class Inside:
    """The first worker scores, and the others wait."""

    def __init__(self, run: Run, validate: Validate | None) -> None:
        self._run, self._validate = run, validate

    def start(self, *, first_step: int) -> None:
        """As in `Scoring`."""
        run, config = self._run, self._run.config
        if run.metrics:
            validate_pending(run.run_dir, self._validate, run.metrics, config.checkpoint)
        if has_initial(run.run_dir) and first_step == 0:
            self._keep_initial()
        elif first_step == 0 and self._validate and config.checkpoint.validate_start:
            validate_start(run.run_dir, run.state.teacher_network, config, self._validate, run.metrics)
        if run.metrics:
            check_guard(run.run_dir, config, run.metrics)

    def _keep_initial(self) -> None:
        """Keep the weights that a run starts from as the checkpoint of step 0, so that they can be its best."""
        run = self._run
        is_whole = _on_all(run, lambda: (step_dir(run.run_dir, 0) / "checkpoint.json").exists())
        if not is_whole:
            _save(run, 0)
        if run.metrics:
            if not is_whole:
                validate_checkpoint(run.run_dir, 0, self._validate, run.metrics, run.config.checkpoint)
            keep_baseline(run.run_dir)
        run.worker.barrier()

    def checkpoint(self, step: int) -> None:
        """As in `Scoring`."""
        run = self._run
        if run.metrics:
            validate_checkpoint(run.run_dir, step, self._validate, run.metrics, run.config.checkpoint)
            check_guard(run.run_dir, run.config, run.metrics)
        run.worker.barrier()

    def after_step(self, step: int) -> None:
        """Nothing: scores are in when training goes on."""


class Beside:
    """Somebody who is asked scores, while training goes on."""

    def __init__(self, run: Run, ask: Ask) -> None:
        self._run, self._ask = run, ask
        self._waiting: list[str] = []
        self._looked_s = 0.0

    def start(self, *, first_step: int) -> None:
        """As in `Scoring`."""
        run, config = self._run, self._run.config
        if has_initial(run.run_dir) and first_step == 0:
            if not _on_all(run, lambda: step_dir(run.run_dir, 0).is_dir()):
                _save(run, 0)
        elif first_step == 0 and config.checkpoint.validate_start:
            export_untrained(run.run_dir, run.state.teacher_network, config, is_first=run.worker.is_first)
        if run.metrics:
            self._waiting = awaited(run.run_dir)
            self._take(first_step)
        for position in range(run.worker.from_first(len(self._waiting))):
            self._ask(self._waiting[position] if run.metrics else None)
        if run.metrics:
            check_guard(run.run_dir, config, run.metrics)

    def checkpoint(self, step: int) -> None:
        """As in `Scoring`."""
        name = step_dir(self._run.run_dir, step).name
        if self._run.metrics:
            self._waiting.append(name)
            if len(self._waiting) == _MANY:
                note(
                    self._run.run_dir,
                    f"{_MANY} checkpoints await their score at step {step}, and stay on disk until they have it: a validation takes longer "
                    "than the steps between two checkpoints; give a larger checkpoint.every, or validation more CPUs or a GPU",
                )
        self._ask(name if self._run.metrics else None)
        self.after_step(step)

    def after_step(self, step: int) -> None:
        """As in `Scoring`; the disk is looked at once a second."""
        if self._waiting and time.monotonic() - self._looked_s >= _LOOK_EVERY_S:
            self._take(step)
            self._looked_s = time.monotonic()

    def _take(self, step: int) -> None:
        assert self._run.metrics is not None
        self._waiting = take_scores(self._run.run_dir, self._waiting, self._run.metrics, self._run.config, at_step=step)


def _save(run: Run, step: int) -> None:
    save_checkpoint(run.run_dir, step, state_tensors(run.state), run.state.teacher_network, run.config, run.run_id, run.worker)


def _on_all(run: Run, ask: Callable[[], bool]) -> bool:
    """What the first worker finds, on every worker."""
    return bool(run.worker.from_first(int(ask()) if run.worker.is_first else 0))
