"""A guard against a continuation that ruins what it started from.

The score of the initial weights is kept in baseline.json. Training stops once several validations in a row are lower by more than a
margin: one alone may be noise, as a k-NN accuracy over 200 images has a standard deviation of 0.03. It stops rather than warns because
what follows costs GPU days and a fallen score does not come back by itself (facebookresearch/dinov2, issue 204: 80, 25, 10%). Without
labels it only warns: how well two views of an image find each other may fall in good runs too.
"""

from __future__ import annotations

from pathlib import Path

from pretrain.checkpoint import best_checkpoint, whole_checkpoints
from pretrain.config import PretrainConfig
from pretrain.failures import TrainingError
from pretrain.metrics import MetricsLog
from pretrain.notices import note, notices_after
from warehouse.store import read_json, write_json

__all__ = ["BASELINE", "check_guard", "keep_baseline"]

BASELINE = "baseline.json"
"""In a run's folder: metric and score of the weights that it started from."""
_WITHOUT_LABELS = ("views/", "step")


def keep_baseline(run_dir: Path) -> None:
    """Keep the score of step 0, whose checkpoint may be deleted later."""
    start = next((saved for saved in whole_checkpoints(run_dir) if saved.step == 0), None)
    if start is not None and not (run_dir / BASELINE).exists():
        write_json(run_dir / BASELINE, {"metric": start.validation_metric, "score": start.validation_score})


def _say_once(run_dir: Path, sentence: str) -> None:
    if sentence not in notices_after(run_dir, 0)[0]:
        note(run_dir, sentence)


def check_guard(run_dir: Path, config: PretrainConfig, metrics: MetricsLog, *, at_step: int | None = None) -> None:
    """Compare the newest validations with the baseline; a run without one passes.

    Args:
        run_dir: with baseline.json.
        config: of the run; margin and number of validations are in `checkpoint`.
        metrics: of the run.
        at_step: where training is meanwhile, if checkpoints are scored beside it.

    Raises:
        TrainingError: the last ones were all lower by more than the margin.
    """
    margin, patience = config.checkpoint.guard_drop, config.checkpoint.guard_patience
    if not margin or not (run_dir / BASELINE).exists():
        return
    baseline = read_json(run_dir / BASELINE)
    metric, start = str(baseline["metric"]), float(baseline["score"])
    last = [row for row in metrics.validations(metric) if row[0] > 0][-patience:]
    newest = metrics.validations("score")[-1:]
    if newest and newest[0][0] > max((step for step, _ in last), default=0):
        _say_once(
            run_dir,
            f"checkpoints are no longer scored by {metric}, as the weights were that this run started from, so its guard compares nothing "
            "new; give the --validation of before to have it back",
        )
    if len(last) < patience or any(value >= start - margin for _, value in last):
        return
    told = ", ".join(f"{value:.3f} at step {step}" for step, value in last)
    late = f" (training is at step {at_step}, as checkpoints are scored beside it)" if at_step and at_step > last[-1][0] else ""
    fell = f"{metric} is {told}{late}, more than {margin:g} below the {start:.3f} of the weights that this run started from"
    if metric.startswith(_WITHOUT_LABELS):
        note(run_dir, f"{fell}; it needs no labels and says little, so training goes on: give --validation to have it stopped")
        return
    saved = whole_checkpoints(run_dir)
    kept = f", and step {best_checkpoint(saved).step} has the best checkpoint" if saved else ""
    raise TrainingError(
        f"{fell}{kept}; start another run with the same --init and optim.base_lr {config.optim.base_lr / 4:g}, or a longer "
        f"optim.freeze_backbone_steps than {config.optim.freeze_backbone_steps}; the same command with a larger "
        "checkpoint.guard_drop goes on, 0 without a guard"
    )
