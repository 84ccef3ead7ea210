"""Checkpoints that are scored beside training.

Both sides meet in the checkpoint's folder alone. A task with resources of its own writes validation.json there: a score, or why there is
none. The first training worker takes scores in, in the order of steps, as it would have recorded its own. So it does not matter which
process is killed when: what has no validation.json is asked for again.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from torch import nn

from pretrain.checkpoint import export_teacher, prune, step_dir, unscored_checkpoints
from pretrain.config import CheckpointConfig, PretrainConfig
from pretrain.failures import TrainingError, one_line
from pretrain.guard import check_guard, keep_baseline
from pretrain.metrics import MetricsLog
from pretrain.notices import note
from pretrain.parallel import full_tensor
from pretrain.run_folder import Scored, Validate, only_trainer, record_score, score_backbone
from pretrain.watcher import Watcher
from warehouse.store import file_sha256, read_json, write_json

__all__ = ["UNTRAINED", "awaited", "export_untrained", "forget_failures", "score_beside", "take_last_scores", "take_scores"]

UNTRAINED = "untrained"
"""Name of the folder with the random weights of step 0, which are scored and never kept."""
_OUTCOME = "validation.json"
_ATTEMPTS = "validation.attempts"
_MOST_ATTEMPTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """Content of validation.json."""

    metric: str = ""
    score: float = 0.0
    values: dict[str, float] = field(default_factory=dict)
    failure: str | None = None
    """why there is no score"""
    is_told: bool = False
    """that there is none has been said"""


def awaited(run_dir: Path) -> list[str]:
    """Names of the folders under checkpoints/ whose outcome is not there or not taken in, in the order of steps."""
    folders = [step_dir(run_dir, step) for step in unscored_checkpoints(run_dir)]
    untrained = _folder(run_dir, UNTRAINED)
    if untrained.is_dir():
        folders.insert(0, untrained)
    return [folder.name for folder in folders if not ((outcome := _read(folder)) and outcome.is_told)]


def export_untrained(run_dir: Path, teacher: nn.Module, config: PretrainConfig, *, is_first: bool) -> None:
    """Write the random weights of step 0 where they can be scored; every worker must call it."""
    weights = {name: full_tensor(tensor).cpu() for name, tensor in teacher.state_dict().items()}
    if not is_first:
        return
    folder = _folder(run_dir, UNTRAINED)
    temporary = folder.with_name(f"{UNTRAINED}.tmp")
    for old in (folder, temporary):
        shutil.rmtree(old, ignore_errors=True)
    export_teacher(temporary, weights, config, card={"step": 0})
    temporary.rename(folder)


def score_beside(run_dir: Path, name: str, validate: Validate) -> dict[str, float]:
    """Score one folder under checkpoints/ and leave the outcome there; a failing validation is an outcome too.

    A process that ends on the way is counted in the folder. After two of them the validation has failed: a third would end likewise.

    Args:
        run_dir: of the run.
        name: of the folder.
        validate: scores an exported backbone.

    Returns:
        The scores by name; empty if it failed, is scored already, or is not there any more.
    """
    folder = _folder(run_dir, name)
    backbone = folder / "backbone"
    if not backbone.is_dir() or (folder / _OUTCOME).exists():
        return {}
    attempts, weights = folder / _ATTEMPTS, backbone / "model.safetensors"
    sha256 = file_sha256(weights)
    if attempts.exists() and attempts.stat().st_size >= _MOST_ATTEMPTS:
        outcome = _Outcome(failure=f"its process ended {_MOST_ATTEMPTS} times, as it does when memory is full")
    else:
        with attempts.open("a") as file:
            file.write("x")
        outcome = _outcome_of(validate, backbone, _step_of(name))
    if not weights.exists() or file_sha256(weights) != sha256:  # training was interrupted, and has written this checkpoint again
        return {}
    write_json(folder / _OUTCOME, asdict(outcome))
    return outcome.values


def _outcome_of(validate: Validate, backbone: Path, step: int) -> _Outcome:
    try:
        metric, score, values = score_backbone(validate, backbone, step)
    except Exception as error:  # of whatever data and code the validation has: it must not end the run
        return _Outcome(failure=f"{type(error).__name__}: {one_line(error)}")
    return _Outcome(metric=metric, score=score, values=values)


def take_scores(run_dir: Path, names: list[str], metrics: MetricsLog, config: PretrainConfig, *, at_step: int) -> list[str]:
    """Record the outcomes that are there, in order, up to the first that is not, and check the guard after each.

    Args:
        run_dir: of the run, which no other process takes scores of.
        names: folders that await a score, in the order of steps.
        metrics: of the run.
        config: of the run.
        at_step: where training is meanwhile.

    Returns:
        The names that still wait.

    Raises:
        TrainingError: the guard stops the run.
    """
    waiting = list(names)
    while waiting and (outcome := _read(_folder(run_dir, waiting[0]))):
        _take(run_dir, waiting.pop(0), outcome, metrics, config.checkpoint)
        check_guard(run_dir, config, metrics, at_step=at_step)
    return waiting


def _take(run_dir: Path, name: str, outcome: _Outcome, metrics: MetricsLog, config: CheckpointConfig) -> None:
    folder, step = _folder(run_dir, name), _step_of(name)
    if outcome.failure is not None:
        lost = "this run has no guard" if step == 0 and name != UNTRAINED and config.guard_drop else "the run goes on"
        note(run_dir, f"the checkpoint of step {step} has no score, because its validation failed ({outcome.failure}); {lost}")
    if name == UNTRAINED:
        if outcome.failure is None:
            metrics.write(0, outcome.values)
        shutil.rmtree(folder)
        return
    failed = _failed(run_dir)
    if outcome.failure is not None:
        write_json(folder / _OUTCOME, asdict(replace(outcome, is_told=True)))
        prune(run_dir, keep_best=config.keep_best, keep_every=config.keep_every, failed=failed)
        return
    record_score(run_dir, step, Scored(outcome.metric, outcome.score, outcome.values), metrics, config, failed=failed)
    if step == 0:
        keep_baseline(run_dir)


def take_last_scores(run_dir: Path, config: PretrainConfig) -> None:
    """Take in what was scored after training ended; the process that started the workers calls it.

    Raises:
        TrainingError: the guard stops the run, or no checkpoint has a score.
    """
    num_steps = config.train.num_steps
    with only_trainer(run_dir):
        metrics = MetricsLog(run_dir, after_step=num_steps)
        metrics.watch = Watcher(run_dir, asdict(config))
        try:
            left = take_scores(run_dir, awaited(run_dir), metrics, config, at_step=num_steps)
        finally:
            metrics.close()
    if left:
        raise TrainingError(f"{', '.join(left)} in {run_dir} have no score yet; the same command validates what has none")


def forget_failures(run_dir: Path) -> None:
    """Let validations that failed be tried again, in a run that is started again."""
    for folder in [_folder(run_dir, UNTRAINED), *(step_dir(run_dir, step) for step in _failed(run_dir))]:
        (folder / _OUTCOME).unlink(missing_ok=True)
    for attempts in (run_dir / "checkpoints").glob(f"*/{_ATTEMPTS}"):
        attempts.unlink()


def _failed(run_dir: Path) -> list[int]:
    outcomes = {step: _read(step_dir(run_dir, step)) for step in unscored_checkpoints(run_dir)}
    return [step for step, outcome in outcomes.items() if outcome and outcome.failure is not None]


def _read(folder: Path) -> _Outcome | None:
    path = folder / _OUTCOME
    return _Outcome(**read_json(path)) if path.exists() else None


def _folder(run_dir: Path, name: str) -> Path:
    return run_dir / "checkpoints" / name


def _step_of(name: str) -> int:
    return 0 if name == UNTRAINED else int(name.removeprefix("step_"))
