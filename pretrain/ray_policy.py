"""Which failures Ray Train tries again: lost workers and machines, and nothing that would fail in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision

from pretrain.failures import WorkerFailure
from pretrain.notices import note
from pretrain.ray_validation import stop_validations

__all__ = ["CauseTrainer", "cause_of"]


def cause_of(error: BaseException) -> WorkerFailure:
    """Of what `fit` raised, the failure that the person should hear of."""
    failures = list(getattr(error, "worker_failures", {}).values())
    told = [failure for failure in failures if isinstance(failure, WorkerFailure)]
    hopeless = [failure for failure in told if not failure.can_heal]
    silent = [failure for failure in failures if failure not in told]
    if hopeless or (told and not silent):  # what cannot heal, and then a lost process, is the cause of the others' lost connections
        return (hopeless or told)[0]
    text = " ".join(str(silent[0] if silent else error).split())
    if "memory" in text and ("OOM" in text or "low on memory" in text):
        sentence = "a worker was ended because its machine ran out of memory; a lower train.num_loader_workers needs less"
    else:
        sentence = f"a worker's process or machine was lost: {text[:300]}"
    return WorkerFailure("lost", sentence, True)


class _CausePolicy(DefaultFailurePolicy):
    """Ray Train's own policy, except that a failure that cannot heal is raised at once."""

    def __init__(self, failure_config: Any, run_dir: str, *, beside: bool) -> None:
        super().__init__(failure_config)
        self._run_dir, self._beside = Path(run_dir), beside

    def make_decision(self, training_failed_error: Any) -> FailureDecision:
        cause = cause_of(training_failed_error)
        decision = super().make_decision(training_failed_error) if cause.can_heal else FailureDecision.RAISE
        if decision is FailureDecision.RAISE and self._beside:
            # Ray Train waits for every validation that it was asked for before it raises: those that have not begun then end at once
            stop_validations(self._run_dir)
            note(self._run_dir, f"training has stopped: {cause.sentence}; a validation that is under way is awaited first")
        if decision is FailureDecision.RETRY:
            note(self._run_dir, f"{cause.sentence}; training starts again from the last checkpoint")
        return decision


class CauseTrainer(TorchTrainer):
    """Ray Train's torch trainer with that policy."""

    worker_counts: tuple[int, ...] = ()
    """numbers of workers that an elastic training may have"""

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        beside, run_dir = arguments.get("validation_config") is not None, str(self.run_config.storage_path)
        policies: dict[str, Any] = {"failure_policy": _CausePolicy(self.run_config.failure_config, run_dir, beside=beside)}
        if self.worker_counts:
            from pretrain.elastic import EvenPolicy

            policies["scaling_policy"] = EvenPolicy(self.scaling_config, self.worker_counts, run_dir)
        return super()._initialize_and_run_controller(**arguments | policies)  # type: ignore[misc]  # Ray has no types
