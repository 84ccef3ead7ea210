"""Do a step again that was not finite, and say where it first was not: weights, module, loss or gradient, and of which images.

It runs in one process, uncompiled, with the whole batch, in micro-batches as large as those that the run had.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from pretrain.accumulation import check_accumulation
from pretrain.checkpoint import read_state
from pretrain.config import PretrainConfig
from pretrain.data import Batch, ShardReader, StepBatches, batch_samples, with_crops
from pretrain.device_crops import is_on_device
from pretrain.model import Network
from pretrain.objective import terms
from pretrain.parallel import Worker, current_worker, shared_threads
from pretrain.replay_files import NonFiniteStep, kept_step
from pretrain.schedule import settings_at
from pretrain.state import TrainingState, build_state, state_tensors
from pretrain.trainer import Trainer

__all__ = ["Frame", "Replay", "Trace", "replay", "trace_step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One pass of a step."""

    tensors: tuple[str, ...]
    """names of the state's tensors that were not finite before the step"""
    module: str | None
    """first module, in the order of the computation, whose output was not finite; teacher first"""
    enters_finite: bool
    """whether what that module got was finite"""
    losses: dict[str, float]
    """as the step made them"""
    gradients: tuple[str, ...]
    """parameters whose gradient was not finite, the last of the network first, as they are made"""
    operation: str | None
    """operation of the backward pass that first gave NaN, by torch's anomaly detection"""
    bad_images: tuple[int, ...]
    """places in the batch of images whose features were not finite"""

    @property
    def is_finite(self) -> bool:
        """Whether losses and gradients were."""
        return not self.gradients and all(torch.tensor(value).isfinite() for value in self.losses.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """An image of the batch."""

    frame_id: str
    lowest: int
    """of its crops' pixels"""
    mean: float
    highest: int
    is_finite: bool
    """whether its features are"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What doing the step again has shown."""

    kept: NonFiniteStep
    is_bf16: bool
    trace: Trace
    in_fp32: Trace
    """the same in float32; the same object where the step was so already"""
    frames: tuple[Frame, ...]


def replay(run_dir: Path, config: PretrainConfig, *, dataset_dir: Path, use_gpu: bool) -> Replay:
    """Do the step again that a run kept; nothing is written.

    Args:
        run_dir: of the run.
        config: that it had.
        dataset_dir: its dataset.
        use_gpu: as it had; bf16 and sums differ otherwise.

    Raises:
        ValueError: it kept none, or what it kept is damaged.
    """
    if config.video is not None:
        raise ValueError(f"{run_dir.name} trains on clips, and only steps over images are done again; see its metrics.jsonl")
    folder, kept = kept_step(run_dir)
    config = replace(config, train=replace(config.train, compile="off", num_loader_workers=0))
    worker = current_worker(config.train, use_gpu=use_gpu)
    reader = ShardReader(dataset_dir, config.data)
    with shared_threads(worker):
        state = build_state(config, worker)
        read_state(folder, kept.step, state_tensors(state), worker)
        on_device = is_on_device(config, worker.device)
        batch = with_crops(StepBatches(reader, config, rank=0, world_size=1, decode_only=on_device)[kept.step], config, worker.device)
        config = _in_parts(config, kept.num_workers)
        trace = trace_step(state, config, worker, kept.step, batch)
        in_fp32 = trace_step(state, config, replace(worker, bf16=False), kept.step, batch) if worker.bf16 else trace
    frames = _frames(reader, config, kept.step, batch, trace)
    return Replay(kept=kept, is_bf16=worker.bf16, trace=trace, in_fp32=in_fp32, frames=frames)


def trace_step(state: TrainingState, config: PretrainConfig, worker: Worker, step: int, batch: Batch) -> Trace:
    """Forward, losses and backward of a step with a look at every module; the state stays as it is."""
    trainer, student = Trainer(state, config, worker), state.student_network
    assert isinstance(student, Network), "only steps over images are done again"
    temperature = settings_at(step, config).teacher_temperature
    tensors = tuple(name for name, tensor in state_tensors(state).items() if not _finite(tensor))
    state.optimizer.zero_grad()
    with (
        _watched({"teacher": state.teacher_network, "student": state.student_network}) as seen,
        _features(student) as features,
    ):
        losses, _ = trainer.backward(step, batch, temperature)
    named = [(name, parameter.grad) for name, parameter in state.student_network.named_parameters()]
    gradients = tuple(name for name, gradient in reversed(named) if gradient is not None and not _finite(gradient))
    state.optimizer.zero_grad()
    finite = [part.isfinite().all(dim=1).view(2, -1).all(dim=0) for part in features]
    return Trace(
        tensors=tensors,
        module=seen[0][0] if seen else None,
        enters_finite=seen[0][1] if seen else True,
        losses={name: float(value) for name, value in terms(losses, is_anchored=state.anchor is not None).items()},
        gradients=gradients,
        operation=_first_operation(trainer, step, batch, temperature) if gradients else None,
        bad_images=tuple(torch.cat(finite).logical_not().nonzero().flatten().tolist()),
    )


def _in_parts(config: PretrainConfig, num_workers: int) -> PretrainConfig:
    """With as many micro-batches as all workers of the run had together, if the losses allow: one process may have the memory of one."""
    for count in (config.train.accumulate * num_workers, config.train.accumulate):
        with contextlib.suppress(ValueError):
            cut = replace(config, train=replace(config.train, accumulate=count))
            check_accumulation(cut, 1)
            return cut
    return config


def _first_operation(trainer: Trainer, step: int, batch: Batch, temperature: float) -> str | None:
    """Of the backward pass, by torch's anomaly detection, which sees NaN and not infinity."""
    try:
        with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("ignore")  # that it is slow, and the forward pass's traceback
            trainer.backward(step, batch, temperature)
    except RuntimeError as error:
        found = re.search(r"Function '(\w+)' returned nan", str(error))
        if found is None:
            raise
        return found[1]
    finally:
        trainer.state.optimizer.zero_grad()
    return None


@contextmanager
def _features(student: Network) -> Iterator[list[Tensor]]:
    """Collect the class tokens of the global crops, (2 * images, dim) of each micro-batch."""
    seen: list[Tensor] = []
    handle = student.register_forward_hook(lambda module, given, made: seen.append(made.features.detach()))
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def _watched(networks: dict[str, nn.Module]) -> Iterator[list[tuple[str, bool]]]:
    """Collect innermost modules whose output is not finite, in order, with whether their input was."""
    seen: list[tuple[str, bool]] = []
    handles = []
    for prefix, network in networks.items():
        for name, module in network.named_modules():
            if next(module.children(), None) is None or name.endswith("last_layer"):

                def look(module: nn.Module, given: Any, made: Any, name: str = f"{prefix}.{name}") -> None:
                    if not _finite(made):
                        seen.append((name, _finite(given)))

                handles.append(module.register_forward_hook(look))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool(value.detach().isfinite().all())
    return all(_finite(part) for part in value) if isinstance(value, tuple | list) else True


def _frames(reader: ShardReader, config: PretrainConfig, step: int, batch: Batch, trace: Trace) -> tuple[Frame, ...]:
    """The batch's images in order; of one that could not be read, its own name with the crops of its stand-in."""
    train = config.train
    _, samples = batch_samples(
        step,
        num_samples=len(reader),
        batch_size=train.batch_size,
        seed=train.seed,
        footage=reader.footage,
        windows=reader.windows(train.batch_size),
    )
    ids = pq.read_table(reader.dataset_dir / "samples.parquet", columns=["frame_id"]).column(0).take(samples.tolist()).to_pylist()
    found = []
    for place, frame_id in enumerate(ids):
        crops = [part[:, place] for part in (batch.global_crops, batch.local_crops) if part.numel()]
        pixels = torch.cat([crop.flatten() for crop in crops])
        found.append(
            Frame(
                frame_id=frame_id,
                lowest=int(pixels.min()),
                mean=float(pixels.float().mean()),
                highest=int(pixels.max()),
                is_finite=place not in trace.bad_images,
            )
        )
    return tuple(found)
