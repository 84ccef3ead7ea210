"""The training loop of one worker, read from top to bottom.

A step is a function of (weights, optimiser state, centres, step number): its images, crops, masks and dropped branches follow from the
seed, the step and the position in the global batch. So a run that was killed and continued, on any number of workers, gives the losses of
one that was not, to the rounding of sums.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor

from pretrain.accumulate import backward_in_parts
from pretrain.accumulation import check_accumulation
from pretrain.batches import RunBatches, open_batches
from pretrain.checkpoint import load_state, save_checkpoint
from pretrain.clipping import clip_gradients, drop_last_layer_gradients
from pretrain.compiled import compile_blocks, compile_losses, is_wanted
from pretrain.config import PretrainConfig
from pretrain.cross_entropy import PassOverRows
from pretrain.damage import UnreadableLog
from pretrain.data import Batch, ShardReader, open_loader, with_crops
from pretrain.device_crops import is_on_device
from pretrain.drop_path import KeptRows
from pretrain.failures import NonFiniteError
from pretrain.gram import WeightedGram, anchor_patches, gram_distance, gram_weight, is_refreshed, refresh, used_patches
from pretrain.initial import initial_tensors
from pretrain.machine import note_machine
from pretrain.metrics import MetricsLog, Stopwatch
from pretrain.micro_batches import is_chunked
from pretrain.model import LastLayerInputs, Network, Outputs, update_teacher
from pretrain.notices import note
from pretrain.objective import Centers, Losses, compute_losses, make_targets, terms
from pretrain.parallel import Worker, current_worker, shared_threads
from pretrain.params import set_schedule
from pretrain.replay_files import keep_for_replay, lake_of
from pretrain.run_folder import Validate, check_run_dir, newest_step, only_trainer
from pretrain.schedule import settings_at
from pretrain.scoring import Ask, Beside, Inside, Run, Scoring
from pretrain.start import check_anchor, given_step, load_start
from pretrain.state import TrainingState, build_state, state_tensors
from pretrain.utilisation import utilisation, work_of
from pretrain.video.batches import ClipBatch
from pretrain.video.network import VideoNetwork
from pretrain.video.step import ClipStep
from pretrain.watcher import Watcher

__all__ = ["NonFiniteError", "Progress", "StepInputs", "Trainer", "train"]

_log = logging.getLogger(__name__)


Progress = Callable[[int, int, dict[str, float]], None]
"""Called with steps done, steps in all and the step's metrics."""
Keep = Callable[[TrainingState, int, bool], str]
"""Called on every worker before a run stops: the state, the first step that was not finite, whether the state is still that before it."""


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
    ask: Ask | None = None,
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
        ask: asks somebody to score a checkpoint beside training, see `pretrain.scoring`; `validate` is then not called here.

    Raises:
        ValueError: dataset, batch or run folder do not fit the configuration, or too many samples cannot be read.
        NonFiniteError: the loss stayed non-finite.
    """
    worker = current_worker(config.train, use_gpu=use_gpu)
    num_steps = config.train.num_steps
    with only_trainer(run_dir) if worker.is_first else nullcontext(), shared_threads(worker):
        reader = ShardReader(dataset_dir, config.data)
        on_device = is_on_device(config, worker.device)
        batches = open_batches(reader, config, rank=worker.rank, world_size=worker.world_size, decode_only=on_device)
        if worker.is_first:
            check_run_dir(run_dir, config, dataset_id=reader.dataset_id, run_id=run_id)
        check_anchor(run_dir, config)
        own_step = worker.from_first(newest_step(run_dir) if worker.is_first else 0)
        first_step = own_step or worker.from_first(given_step(run_dir) if worker.is_first else 0)
        initial = {} if first_step else initial_tensors(run_dir)
        keep = partial(keep_for_replay, run_dir, worker=worker)
        say = partial(note, run_dir) if worker.is_first else _log.warning
        trainer = Trainer(build_state(config, worker, initial=initial), config, worker, run_dir=run_dir, keep=keep, say=say)
        del initial
        if first_step:
            if own_step:
                load_state(run_dir, first_step, state_tensors(trainer.state), worker=worker)
            else:
                load_start(run_dir, first_step, trainer.state, worker)
            _log.info("continuing from step %d of %d in %s", first_step, num_steps, run_dir)
        metrics = None
        if worker.is_first:
            note_machine(run_dir, worker, first_step=first_step)
            metrics = MetricsLog(run_dir, after_step=first_step)
            metrics.watch = Watcher(run_dir, asdict(config))
        run = Run(run_dir=run_dir, run_id=run_id, config=config, worker=worker, state=trainer.state, metrics=metrics)
        scoring: Scoring = Beside(run, ask) if ask else Inside(run, validate)
        with closing(metrics) if metrics else nullcontext():
            scoring.start(first_step=first_step)
            _take_steps(trainer, run, scoring, batches, first_step=first_step, progress=progress, at_checkpoint=at_checkpoint)


def _take_steps(
    trainer: Trainer,
    run: Run,
    scoring: Scoring,
    batches: RunBatches,
    *,
    first_step: int,
    progress: Progress | None,
    at_checkpoint: Callable[[int], None] | None,
) -> None:
    run_dir, config, worker, metrics = run.run_dir, run.config, run.worker, run.metrics
    num_steps = config.train.num_steps
    unreadable = UnreadableLog(batches.reader, limit=config.train.max_unreadable, say=partial(note, run_dir))
    stopwatch, work = Stopwatch(), work_of(config, trainer.state.student_network, worker)
    loader = open_loader(batches, first_step=first_step, pin_memory=worker.device.type == "cuda")
    for step in range(first_step, num_steps):
        with stopwatch.waiting():
            batch = next(loader)
        unreadable.add(batches.num_images, batch.unreadable_shards.tolist())
        values = trainer.step(step, batch)
        stopwatch.count(config.train.batch_size)
        done = step + 1
        if done % config.train.log_every == 0 or done in (1, num_steps):
            row = worker.means(values) | stopwatch.read()
            row |= utilisation(work, row["speed/images_per_s"])
            if metrics:
                metrics.write(done, row)
                _say(done, config, row)
                if progress:
                    progress(done, num_steps, metrics.newest_validation() | row)
        if done % config.checkpoint.every == 0 or done == num_steps:
            trainer.settle()
            if metrics:
                metrics.sync()
            save_checkpoint(run_dir, done, state_tensors(trainer.state), trainer.state.teacher_network, config, run.run_id, worker)
            scoring.checkpoint(done)
            if at_checkpoint:
                at_checkpoint(done)
            stopwatch = Stopwatch()
        else:
            scoring.after_step(done)


class Trainer:
    """Applies steps to a training state, and stops a run that has gone wrong.

    On a GPU nothing in a step waits for the device: whether loss and gradients were finite is decided there, and read one step later.
    """

    def __init__(
        self,
        state: TrainingState,
        config: PretrainConfig,
        worker: Worker,
        *,
        run_dir: Path | None = None,
        keep: Keep | None = None,
        say: Callable[[str], None] = _log.warning,
    ) -> None:
        self.state, self.config, self.worker, self._run_dir, self._keep, self._say = state, config, worker, run_dir, keep, say
        check_accumulation(config, worker.world_size)
        self._chunked = is_chunked(config, worker.world_size)
        self._parts = _parts(state.student_network)
        self._mean, self._std = (
            torch.tensor(value, device=worker.device).view(3, 1, 1) * 255 for value in (config.augment.mean, config.augment.std)
        )
        self._clips = None if config.video is None else ClipStep(state, config, worker)
        self._compiled_losses: PassOverRows | None = None
        student, teacher = state.student_network, state.teacher_network
        if isinstance(student, Network) and isinstance(teacher, Network) and is_wanted(config.train, worker.device):
            compile_blocks((student, teacher), say=say)
            self._compiled_losses = compile_losses(say=say)
        self._skipped_in_a_row = torch.zeros((), device=worker.device)
        self._unread: _Unread | None = None

    def step(self, step: int, batch: Batch | ClipBatch) -> dict[str, Tensor]:
        """One optimiser step, or none where loss or gradient is not finite on some worker.

        Args:
            step: 0 for the first.
            batch: this worker's part.

        Returns:
            Metrics of this worker.

        Raises:
            NonFiniteError: this one, or on a GPU the one before it, was one too many in a row.
        """
        config, state, worker = self.config, self.state, self.worker
        settings = settings_at(step, config)
        set_schedule(state.optimizer.param_groups, settings)
        state.optimizer.zero_grad()
        if isinstance(batch, Batch):
            batch = with_crops(batch, config, worker.device)

        losses, centers = self.backward(step, batch, settings.teacher_temperature)
        if step < config.optim.freeze_last_layer_steps and config.optim.freeze_last_layer_by == "gradient":
            drop_last_layer_gradients(state.student_network)
        norms = clip_gradients(self._parts, config.optim)

        # a loss or norm that is not finite on one worker is so on all
        skip = torch.stack([worker.mean(losses.total.detach()), *norms.values()]).isfinite().all().logical_not().float()
        state.optimizer.found_inf = skip  # type: ignore[attr-defined]  # as a GradScaler tells a fused optimiser to change nothing
        state.optimizer.step()
        teacher_weights, student_weights = list(state.teacher_network.parameters()), list(state.student_network.parameters())
        update_teacher(teacher_weights, student_weights, settings.teacher_momentum, skip=skip)
        for center, updated in zip(state.centers, centers, strict=True):
            center.copy_(torch.where(skip.bool(), center, updated))
        if state.anchor is not None and is_refreshed(step, config.gram):
            refresh(state.anchor, list(state.teacher_network.backbone.parameters()))
        self._skipped_in_a_row = (self._skipped_in_a_row + 1) * skip
        self._note(step)
        return {
            **{f"loss/{name}": value for name, value in terms(losses, is_anchored=state.anchor is not None).items()},
            "teacher/entropy": losses.teacher_entropy,
            **{f"grad_norm/{name}": norm for name, norm in norms.items()},
            **{f"schedule/{name}": torch.tensor(value) for name, value in asdict(settings).items()},
            # These two count the images of all workers: `means` takes the mean over workers.
            "data/unreadable_images": batch.num_unreadable * worker.world_size,
            "data/equal_images": losses.equal_images * worker.world_size,
            "train/skipped_steps_in_a_row": self._skipped_in_a_row,
        }

    def backward(self, step: int, batch: Batch | ClipBatch, temperature: float) -> tuple[Losses, Centers]:
        """Add the step's gradients to the student's parameters; the losses, and the centres after this batch."""
        if isinstance(batch, ClipBatch):
            assert self._clips is not None
            return self._clips.backward(batch, temperature)
        return (self._backward_in_parts if self._chunked else self._backward)(step, batch, temperature)

    def _backward(self, step: int, batch: Batch, temperature: float) -> tuple[Losses, Centers]:
        """From the whole batch at once."""
        inputs, loss = self.inputs(batch), self.config.loss
        teacher = self.teacher_outputs(inputs)
        targets = make_targets(teacher, self.state.centers, loss, temperature)
        student = self.student_outputs(inputs)
        gram = self.gram(step, student, inputs)
        losses = compute_losses(
            student, targets, inputs.mask_weights, loss, moments=inputs.moments, compiled=self._compiled_losses, gram=gram
        )
        centers = targets.centers
        del teacher, student, targets  # logits of gigabytes, which the backward pass does not need
        torch.autograd.backward(losses.total)
        return losses, centers

    def _backward_in_parts(self, step: int, batch: Batch, temperature: float) -> tuple[Losses, Centers]:
        """From micro-batches, with logits in chunks."""
        return backward_in_parts(
            batch,
            self.state,
            self.config.loss,
            self.worker,
            count=self.config.train.accumulate,
            temperature=temperature,
            inputs=self.inputs,
            teacher=self.teacher_rows,
            student=self.student_rows,
            compiled=self._compiled_losses,
            gram=partial(self.gram, step),
        )

    def gram(self, step: int, student: Outputs | LastLayerInputs, inputs: StepInputs) -> WeightedGram | None:
        """Distance of the student's patch similarities from the anchor's; None without one."""
        anchor, config = self.state.anchor, self.config.gram
        if anchor is None or student.patches is None:
            return None
        with self.worker.autocast():
            theirs = anchor_patches(anchor, inputs.global_crops, scale=config.scale)
        distance = gram_distance(student.patches, theirs, used_patches(inputs.masks, config))
        return WeightedGram(distance, gram_weight(step, config))

    def inputs(self, batch: Batch) -> StepInputs:
        """A batch on its way to the device, crops normalised."""
        device = self.worker.device
        return StepInputs(
            global_crops=self._normalised(batch.global_crops),
            local_crops=self._normalised(batch.local_crops) if len(batch.local_crops) else None,
            masks=batch.masks.to(device, non_blocking=True),
            hidden=batch.hidden.to(device, non_blocking=True),
            mask_weights=batch.mask_weights.to(device, non_blocking=True),
            kept_global=batch.kept_global and batch.kept_global.to(device),
            kept_local=batch.kept_local and batch.kept_local.to(device),
            moments=None if batch.moments is None else batch.moments.to(device, non_blocking=True),
        )

    def teacher_outputs(self, inputs: StepInputs) -> Outputs:
        """The teacher's forward pass: every patch of the global crops, without gradients."""
        return cast(Outputs, self._run_teacher(inputs, logits=True))

    def teacher_rows(self, inputs: StepInputs) -> LastLayerInputs:
        """The same up to the last layers."""
        return cast(LastLayerInputs, self._run_teacher(inputs, logits=False))

    def student_outputs(self, inputs: StepInputs) -> Outputs:
        """The student's forward pass: global crops with patches hidden, and local crops."""
        return cast(Outputs, self._run_student(inputs, logits=True))

    def student_rows(self, inputs: StepInputs) -> LastLayerInputs:
        """The same up to the last layers."""
        return cast(LastLayerInputs, self._run_student(inputs, logits=False))

    def _run_teacher(self, inputs: StepInputs, *, logits: bool) -> object:
        with self.worker.autocast(), torch.no_grad():
            return self.state.teacher(inputs.global_crops, inputs.masks, inputs.hidden, hide=False, logits=logits)

    def _run_student(self, inputs: StepInputs, *, logits: bool) -> object:
        with self.worker.autocast():
            return self.state.student(
                inputs.global_crops,
                inputs.masks,
                inputs.hidden,
                inputs.local_crops,
                hide=True,
                kept_global=inputs.kept_global,
                kept_local=inputs.kept_local,
                logits=logits,
                keep_patches=self.state.anchor is not None,
            )

    def _normalised(self, crops: Tensor) -> Tensor:
        """(views, images, side, side, 3) uint8 to (views * images, 3, side, side) float32."""
        if not crops.is_contiguous():  # of a micro-batch: views go one by one, so that pinned memory stays so
            return torch.cat([self._normalised(view[None]) for view in crops])
        moved = crops.flatten(0, 1).to(self.worker.device, non_blocking=True).permute(0, 3, 1, 2).contiguous()
        return (moved.float() - self._mean) / self._std

    def settle(self) -> None:
        """Read what the last step said of its loss and gradient.

        Raises:
            NonFiniteError: it was one too many in a row.
        """
        unread, self._unread = self._unread, None
        if unread is None:
            return
        if unread.arrived:
            unread.arrived.synchronize()
        in_a_row = int(unread.skipped_in_a_row)
        if in_a_row:
            self._say(f"step {unread.step + 1} skipped: its loss or gradient is not finite")
        if in_a_row >= self.config.train.max_nonfinite_steps:
            kept = self._keep(self.state, unread.step - in_a_row + 1, int(self._skipped_in_a_row) >= in_a_row) if self._keep else ""
            lake, run = ("LAKE", "RUN") if self._run_dir is None else (lake_of(self._run_dir), self._run_dir.name)
            raise NonFiniteError(
                f"loss or gradient was not finite for {in_a_row} steps in a row up to step {unread.step + 1}; "
                f"go on from the last checkpoint with `endoforge pretrain --lake {lake} --resume {run} --set "
                f"optim.base_lr={self.config.optim.base_lr / 2:g}`, or with a smaller optim.clip_grad_norm or train.precision=fp32{kept}"
            )

    def _note(self, step: int) -> None:
        """Send the count of skipped steps to the CPU, and read it at once where it is there; else read that of the step before."""
        if self.worker.device.type != "cuda":
            self._unread = _Unread(step, self._skipped_in_a_row, None)
            self.settle()
            return
        self.settle()
        copy = torch.empty((), pin_memory=True).copy_(self._skipped_in_a_row, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        self._unread = _Unread(step, copy, arrived)


class StepInputs(NamedTuple):
    """A batch on the device."""

    global_crops: Tensor
    """(2 * images, 3, side, side) float32, normalised"""
    local_crops: Tensor | None
    """(local crops * images, 3, side, side) float32, normalised"""
    masks: Tensor
    hidden: Tensor
    mask_weights: Tensor
    kept_global: KeptRows | None
    kept_local: KeptRows | None
    moments: Tensor | None


class _Unread(NamedTuple):
    """What a step has said and nobody has read."""

    step: int
    skipped_in_a_row: Tensor
    arrived: torch.cuda.Event | None
    """when the tensor has its value; None where it has"""


def _parts(network: Network | VideoNetwork) -> dict[str, list[Tensor]]:
    """Parameters by the part whose gradient norm is clipped by itself."""
    parts: dict[str, list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        head = name.split(".")[0]
        parts.setdefault(head if head.endswith("_head") else "backbone", []).append(parameter)
    return parts


def _say(done: int, config: PretrainConfig, row: dict[str, float]) -> None:
    images_per_s = row["speed/images_per_s"]
    left_s = (config.train.num_steps - done) * config.train.batch_size / images_per_s
    item = "images" if config.video is None else "clips"
    _log.info("step %d/%d loss %.4f, %.1f %s/s, %.0f s left", done, config.train.num_steps, row["loss/total"], images_per_s, item, left_s)
