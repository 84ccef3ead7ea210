"""Where a step's time goes: its parts, the kernels, and the places where the CPU waits for the GPU."""

from __future__ import annotations

import collections
import re
import time
import traceback
import warnings
from dataclasses import replace
from typing import Any, TextIO

import torch
from torch.nn.utils import clip_grad_norm_
from torch.profiler import ProfilerActivity, profile

from pretrain.data import Batch
from pretrain.drop_path import KeptRows
from pretrain.model import update_teacher
from pretrain.objective import compute_losses, make_targets
from pretrain.schedule import settings_at
from pretrain.trainer import Trainer
from tests.device.place import Place, build_quickly, compile_all, full, made_batch, moved, synchronize

_KINDS = (
    ("attention", r"flash|fmha|attention|sdpa|mha"),
    ("matrix product", r"gemm|cutlass|cublas|nvjet|wgmma|xmma|addmm|\bmm\b|linear"),
    ("optimiser and teacher", r"multi_tensor|foreach|adam"),
    ("copy", r"memcpy|memset|copy|cat"),
    ("index", r"index|gather|scatter|nonzero|sort|cub"),
    ("norm and softmax", r"norm|softmax"),
    ("reduction", r"reduce"),
    ("elementwise", r"elementwise|vectorized|gelu|mul|add"),
)


def host_waits(place: Place) -> None:
    """Synchronising calls of one compiled step of vits14 with a pinned batch, as the loader gives it, by our own line and torch's."""
    config = full(place, "vits14", batch_size=4 if place.dry else 128)
    trainer, batch = build_quickly(config, place), _pinned(made_batch(config), place)
    compile_all(trainer, place)
    for step in range(2):
        trainer.step(step, batch)
    lines: collections.Counter[str] = collections.Counter()

    def count(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
    ) -> None:
        if "called a synchronizing" in str(message):
            lines[_own_line(filename, lineno)] += 1

    num_steps = 3
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = count
        if not place.dry:
            torch.cuda.set_sync_debug_mode("warn")
        for step in range(2, 2 + num_steps):
            trainer.step(step, batch)
        if not place.dry:
            torch.cuda.set_sync_debug_mode("default")
    each = {line: round(times / num_steps, 2) for line, times in lines.most_common()}
    place.note(counted=not place.dry, waits_per_step=round(sum(lines.values()) / num_steps, 2), lines=each)


def _own_line(filename: str, lineno: int) -> str:
    """The innermost line of this project on the stack, with the line of torch that waited where that is another."""
    stack = traceback.extract_stack()
    own = [frame for frame in stack if "/pretrain/" in frame.filename and "site-packages" not in frame.filename]
    torch_line = "/".join(filename.rsplit("/", 2)[1:]) + f":{lineno}"
    if not own:
        return torch_line
    line = "/".join(own[-1].filename.rsplit("/", 2)[1:]) + f":{own[-1].lineno}"
    return (line if line.endswith(torch_line) else f"{line} > {torch_line}") + f"  {(own[-1].line or '')[:80]}"


def _pinned(batch: Batch, place: Place) -> Batch:
    if place.dry:
        return batch

    def pin(part: Any) -> Any:
        if isinstance(part, KeptRows):
            return part._replace(rows=part.rows.pin_memory(), places=part.places.pin_memory(), counts=part.counts.pin_memory())
        return part.pin_memory() if isinstance(part, torch.Tensor) else part

    return Batch(*map(pin, batch))


def kernels(place: Place) -> None:
    """The fifteen kernels that take most of a compiled step, their kinds, and the GPU's busy share, for vits14 and vitb14."""
    for name, batch_size in (("vits14", 4),) if place.dry else (("vitb14", 64), ("vits14", 128)):
        config = full(place, name, batch_size=batch_size)
        trainer, batch = build_quickly(config, place), moved(made_batch(config), place.device)
        compile_all(trainer, place)
        for step in range(3):
            trainer.step(step, batch)
        synchronize(place.device)
        num_steps = 3
        activities = [ProfilerActivity.CPU] + ([] if place.dry else [ProfilerActivity.CUDA])
        with profile(activities=activities) as profiler:
            start = time.perf_counter()
            for step in range(3, 3 + num_steps):
                trainer.step(step, batch)
            synchronize(place.device)
            wall_s = (time.perf_counter() - start) / num_steps
        place.note(**{name: _summary(profiler, wall_s, num_steps, on_cpu=place.dry)})
        del trainer, batch


def _summary(profiler: profile, wall_s: float, num_steps: int, *, on_cpu: bool) -> dict[str, Any]:
    found = []
    for event in profiler.key_averages():
        if getattr(event, "is_user_annotation", False) or event.key.startswith(("Optimizer.", "ProfilerStep")):
            continue  # a span over kernels that count by themselves
        if on_cpu:
            found.append((event.key, float(event.self_cpu_time_total), event.count))
        elif str(event.device_type).endswith("CUDA"):
            found.append((event.key, float(event.self_device_time_total), event.count))
    found.sort(key=lambda each: -each[1])
    total_us = sum(us for _, us, _ in found) or 1.0
    kinds: collections.Counter[str] = collections.Counter()
    for key, us, _ in found:
        kinds[next((kind for kind, words in _KINDS if re.search(words, key.lower())), "other")] += us  # type: ignore[assignment]
    return {
        "ms_per_step_profiled": round(wall_s * 1e3, 2),
        "busy_share": round(total_us / num_steps / 1e6 / wall_s, 3),
        "launches_per_step": round(sum(count for _, _, count in found) / num_steps),
        "share_by_kind": {kind: round(us / total_us, 3) for kind, us in kinds.most_common()},
        "top": [
            {
                "kernel": key[:110],
                "ms_per_step": round(us / num_steps / 1e3, 3),
                "share": round(us / total_us, 3),
                "calls": count // num_steps,
            }
            for key, us, count in found[:15]
        ],
    }


def parts(place: Place) -> None:
    """Milliseconds and greatest memory of each part of a compiled step, in the trainer's order with a wait after each."""
    for name, batch_size in (("vits14", 4),) if place.dry else (("vits14", 128), ("vitb14", 64), ("vitl14", 64)):
        config = full(place, name, batch_size=batch_size)
        config = replace(config, model=replace(config.model, activation_checkpointing=False))
        trainer, batch = build_quickly(config, place), moved(made_batch(config), place.device)
        compile_all(trainer, place)
        rows = [_one_step(trainer, batch, step) for step in range(6)][2:]
        place.note(
            **{
                f"{name}_{batch_size}": {
                    part: {
                        "ms": round(1e3 * min(row[part][0] for row in rows), 2),
                        "peak_gb": round(max(row[part][1] for row in rows), 2),
                    }
                    for part in rows[0]
                }
            }
        )
        del trainer, batch
        if not place.dry:
            torch.cuda.empty_cache()


def _one_step(trainer: Trainer, batch: Batch, step: int) -> dict[str, tuple[float, float]]:
    config, state = trainer.config, trainer.state
    device, found = trainer.worker.device, {}
    settings = settings_at(step, config)
    mark = time.perf_counter()

    def done(part: str) -> None:
        nonlocal mark
        synchronize(device)
        peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
        found[part] = time.perf_counter() - mark, peak
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        mark = time.perf_counter()

    state.optimizer.zero_grad()
    done("zero_grad")
    inputs = trainer.inputs(batch)
    done("normalise")
    teacher = trainer.teacher_outputs(inputs)
    done("teacher")
    targets = make_targets(teacher, state.centers, config.loss, settings.teacher_temperature)
    done("targets")
    student = trainer.student_outputs(inputs)
    done("student_forward")
    losses = compute_losses(student, targets, inputs.mask_weights, config.loss, compiled=trainer._compiled_losses)
    del teacher, student, targets
    done("losses")
    torch.autograd.backward(losses.total)
    done("backward")
    for parameters in trainer._parts.values():
        clip_grad_norm_(parameters, 3.0)
    done("clip")
    state.optimizer.step()
    done("optimizer")
    pair = list(state.teacher_network.parameters()), list(state.student_network.parameters())
    update_teacher(*pair, settings.teacher_momentum, skip=torch.zeros((), device=device))
    done("teacher_update")
    return found
