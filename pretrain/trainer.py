"""The training loop of one worker, read from top to bottom.

A step is a function of (weights, optimiser state, centres, step number): its images, crops, masks and dropped branches follow from the
seed, the step and the position in the global batch. So a run that was killed and continued, on any number of workers, gives the losses of
one that was not, to the rounding of sums.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from pretrain.checkpoint import load_state, save_checkpoint
from pretrain.config import PretrainConfig
from pretrain.data import Batch, ShardReader, StepBatches, open_loader
from pretrain.metrics import MetricsLog, Stopwatch
from pretrain.model import Network, update_teacher
from pretrain.objective import compute_losses, make_targets
from pretrain.parallel import Worker, current_worker, full_tensor, shared_threads
from pretrain.params import set_schedule
from pretrain.run_folder import Validate, check_run_dir, newest_step, only_trainer, validate_checkpoint, validate_pending, validate_start
from pretrain.schedule import settings_at
from pretrain.state import TrainingState, build_state, state_tensors

__all__ = ["NonFiniteError", "Progress", "Trainer", "train"]

_log = logging.getLogger(__name__)

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with steps done, steps in all and the step's metrics."""


class NonFiniteError(RuntimeError):
    """The loss or a gradient was not finite for too many steps in a row."""


def train(
    config: PretrainConfig,
    *,
    dataset_dir: Path,
    run_dir: Path,
    run_id: str,
    validate: Validate | None,
    use_gpu: bool,
    progress: Progress | None = None,
    at_checkpoint: Callable[[int], None] | None = None,
) -> None:
    """Train to the end, from the newest whole checkpoint in `run_dir` or from scratch; every worker calls it.

    Args:
        config: of the run; the one the folder was started with, if it was.
        dataset_dir: shards with samples.parquet and dataset.json.
        run_dir: on a file system that all workers share.
        run_id: recorded in every checkpoint.
        validate: scores an exported backbone, on the first worker; None makes the newest checkpoint the best.
        use_gpu: train on this worker's GPU.
        progress: called on the first worker at each logged step.
        at_checkpoint: called on every worker with the step, after each checkpoint.

    Raises:
        ValueError: dataset, batch or run folder do not fit the configuration.
        NonFiniteError: the loss stayed non-finite.
    """
    worker = current_worker(config.train, use_gpu=use_gpu)
    num_steps = config.train.num_steps
    with only_trainer(run_dir) if worker.is_first else nullcontext(), shared_threads(worker):
        reader = ShardReader(dataset_dir)
        batches = StepBatches(reader, config, rank=worker.rank, world_size=worker.world_size)
        if worker.is_first:
            check_run_dir(run_dir, config, dataset_id=reader.dataset_id, run_id=run_id)
        first_step = worker.from_first(newest_step(run_dir) if worker.is_first else 0)
        trainer = Trainer(build_state(config, worker), config, worker)
        if first_step:
            load_state(run_dir, first_step, state_tensors(trainer.state), worker=worker)
            _log.info("continuing from step %d of %d in %s", first_step, num_steps, run_dir)
        metrics = None
        if worker.is_first:
            metrics = MetricsLog(run_dir, after_step=first_step)
            validate_pending(run_dir, validate, metrics, config.checkpoint)
        if first_step == 0 and validate and config.checkpoint.validate_start:
            validate_start(run_dir, trainer.state.teacher_network, config, validate, metrics)

        stopwatch = Stopwatch()
        loader = open_loader(batches, first_step=first_step, pin_memory=use_gpu)
        for step in range(first_step, num_steps):
            with stopwatch.waiting():
                batch = next(loader)
            values = trainer.step(step, batch)
            stopwatch.count(config.train.batch_size)
            done = step + 1
            if done % config.train.log_every == 0 or done in (1, num_steps):
                row = {name: float(worker.mean(value)) for name, value in values.items()} | stopwatch.read()
                if metrics:
                    metrics.write(done, row)
                    _say(done, config, row)
                    if progress:
                        progress(done, num_steps, row)
            if done % config.checkpoint.every == 0 or done == num_steps:
                if metrics:
                    metrics.sync()
                save_checkpoint(run_dir, done, state_tensors(trainer.state), trainer.state.teacher_network, config, run_id, worker)
                if metrics:
                    validate_checkpoint(run_dir, done, validate, metrics, config.checkpoint)
                worker.barrier()
                if at_checkpoint:
                    at_checkpoint(done)
                stopwatch = Stopwatch()
        if metrics:
            metrics.close()


class Trainer:
    """Applies steps to a training state, and stops a run that has gone wrong."""

    def __init__(self, state: TrainingState, config: PretrainConfig, worker: Worker) -> None:
        self.state, self.config, self.worker = state, config, worker
        self._parts = _parts(state.student_network)
        self._skipped_in_a_row = 0

    def step(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """One optimiser step, or none where loss or gradient is not finite on some worker.

        Args:
            step: 0 for the first.
            batch: this worker's part.

        Returns:
            Metrics of this worker.

        Raises:
            NonFiniteError: this was one too many in a row.
        """
        config, state, worker = self.config, self.state, self.worker
        settings = settings_at(step, config)
        set_schedule(state.optimizer.param_groups, settings)
        state.optimizer.zero_grad()

        global_crops = _normalise(batch.global_crops, config, worker)
        local_crops = _normalise(batch.local_crops, config, worker) if len(batch.local_crops) else None
        masks = batch.masks.to(worker.device, non_blocking=True)
        kept_global, kept_local = (kept and kept.to(worker.device) for kept in (batch.kept_global, batch.kept_local))
        with worker.autocast():
            with torch.no_grad():
                teacher = state.teacher(global_crops, masks, hide=False)
            targets = make_targets(teacher, state.centers, config.loss, settings.teacher_temperature)
            student = state.student(global_crops, masks, local_crops, hide=True, kept_global=kept_global, kept_local=kept_local)
        losses = compute_losses(student, targets, batch.mask_weights.to(worker.device, non_blocking=True), config.loss)

        norms = {name: losses.total.new_full((), torch.nan) for name in self._parts}
        finite = bool(worker.mean(losses.total.detach()).isfinite())
        if finite:
            torch.autograd.backward(losses.total)
            limit = config.optim.clip_grad_norm or torch.inf
            norms = {name: full_tensor(clip_grad_norm_(parameters, limit)) for name, parameters in self._parts.items()}
            finite = all(bool(norm.isfinite()) for norm in norms.values())
        self._check(step, finite=finite)
        if finite:
            state.optimizer.step()
            teacher_weights, student_weights = list(state.teacher_network.parameters()), list(state.student_network.parameters())
            update_teacher(teacher_weights, student_weights, settings.teacher_momentum)
            for center, updated in zip(state.centers, targets.centers, strict=True):
                center.copy_(updated)
        return {
            **{f"loss/{name}": value.detach() for name, value in losses._asdict().items() if name != "teacher_entropy"},
            "teacher/entropy": losses.teacher_entropy,
            **{f"grad_norm/{name}": norm.to(worker.device) for name, norm in norms.items()},
            **{f"schedule/{name}": torch.tensor(value, device=worker.device) for name, value in asdict(settings).items()},
            "data/unreadable_images": batch.num_unreadable.float().to(worker.device),
            "train/skipped_steps_in_a_row": torch.tensor(float(self._skipped_in_a_row), device=worker.device),
        }

    def _check(self, step: int, *, finite: bool) -> None:
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if finite:
            return
        _log.warning("step %d skipped: its loss or gradient is not finite", step + 1)
        if self._skipped_in_a_row >= self.config.train.max_nonfinite_steps:
            raise NonFiniteError(
                f"loss or gradient was not finite for {self._skipped_in_a_row} steps in a row up to step {step + 1}; "
                "continue from an earlier checkpoint with a lower base_lr, a smaller clip_grad_norm or precision fp32"
            )


def _parts(network: Network) -> dict[str, list[Tensor]]:
    """Parameters by the part whose gradient norm is clipped by itself."""
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        head = name.split(".")[0]
        parts.setdefault(head if head.endswith("_head") else "backbone", []).append(parameter)
    return parts


def _normalise(crops: Tensor, config: PretrainConfig, worker: Worker) -> Tensor:
    """(views, images, side, side, 3) uint8 to (views * images, 3, side, side) float32, normalised, on the device."""
    mean, std = (torch.tensor(value, device=worker.device).view(3, 1, 1) * 255 for value in (config.augment.mean, config.augment.std))
    moved = crops.flatten(0, 1).to(worker.device, non_blocking=True).permute(0, 3, 1, 2).contiguous()
    return (moved.float() - mean) / std


def _say(done: int, config: PretrainConfig, row: dict[str, float]) -> None:
    images_per_s = row["speed/images_per_s"]
    left_s = (config.train.num_steps - done) * config.train.batch_size / images_per_s
    _log.info("step %d/%d loss %.4f, %.1f images/s, %.0f s left", done, config.train.num_steps, row["loss/total"], images_per_s, left_s)
