"""Runs that must give the same numbers: GPU and CPU, cut and uncut, recomputed, compiled, wrapped for several workers.

Every comparison notes its figures first and fails only then, so that a failure says by how much.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

from pretrain.checkpoint import load_state, save_checkpoint, step_dir
from pretrain.config import PretrainConfig
from pretrain.metrics import read_metrics
from pretrain.parallel import current_worker, full_tensor
from pretrain.state import build_state, state_tensors
from pretrain.trainer import NonFiniteError, Trainer, train
from tests.device.place import Place, build, compile_all, gradients, is_compiled, made_batch, moved, small
from tests.helpers.shards import picture, write_dataset

Steps = list[dict[str, float]]

_PARTS = ("loss/", "grad_norm/", "teacher/")


def gpu_against_cpu(place: Place) -> None:
    """One recipe's steps in fp32 without TF32 on both devices, with TF32 where torch allows it, and in bf16."""
    found: dict[str, tuple[Steps, dict[str, torch.Tensor]]] = {}
    defaults = torch.backends.cudnn.allow_tf32
    for name, precision, dry, tf32 in (
        ("cpu_fp32", "fp32", True, False),
        ("fp32", "fp32", place.dry, False),
        ("fp32_tf32_as_by_default", "fp32", place.dry, defaults),
        ("bf16", "bf16", place.dry, defaults),
    ):
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        config = small(place, precision=precision)  # type: ignore[arg-type]
        config = replace(config, optim=replace(config.optim, clip_grad_norm=0.0))
        trainer = build(config, replace(place, dry=dry))
        batch = made_batch(config)
        steps = [_plain(trainer.step(0, batch))]
        grads = gradients(trainer.state)
        steps += [_plain(trainer.step(step, made_batch(config, seed=step))) for step in (1, 2, 3)]
        found[name] = steps, grads
    compared = {
        f"{name}_against_{reference}": _steps_apart(found[name][0], found[reference][0])
        | _gradients_apart(found[name][1], found[reference][1])
        for name, reference in (("fp32", "cpu_fp32"), ("fp32_tf32_as_by_default", "cpu_fp32"), ("bf16", "fp32"), ("bf16", "cpu_fp32"))
    }
    place.note(**compared, losses_cpu_fp32=found["cpu_fp32"][0][0])
    _require(compared["fp32_against_cpu_fp32"]["first_loss_rel"] < 1e-4, "fp32 losses differ between GPU and CPU by 1e-4 or more")
    _require(compared["fp32_against_cpu_fp32"]["gradient_rel"] < 1e-3, "fp32 gradients differ between GPU and CPU by 1e-3 or more")
    _require(compared["bf16_against_fp32"]["first_loss_rel"] < 2e-2, "bf16 losses differ from fp32 by 2e-2 or more")


def cut_and_resumed(place: Place) -> None:
    """The real training loop on a small data set: straight, straight again, and cut half way, at step 7, and continued."""
    dataset = write_dataset(place.work / f"{place.name} set", [picture(number) for number in range(40)], 16)
    precisions: tuple[Literal["auto", "fp32"], ...] = ("auto",) if place.dry else ("auto", "fp32")
    for precision in precisions:
        config = small(place, precision=precision)
        runs = {}
        middle, end = config.checkpoint.every, config.train.num_steps
        for name, stops in (("straight", [end]), ("again", [end]), ("cut", [middle, end])):
            folder = place.work / f"{place.name}-{precision}-{name}"
            for last in stops:
                _train(config, dataset, folder, last=last, place=place)
            runs[name] = _logged(folder)
        place.note(
            **{
                f"{precision}_{name}": _steps_apart(runs[name], runs["straight"]) | {"bitwise": runs[name] == runs["straight"]}
                for name in ("again", "cut")
            }
        )
        _require(len(runs["cut"]) == end, f"the cut run logged {len(runs['cut'])} steps of {end}")
    for precision in precisions:
        apart = place.found(place.name)[f"{precision}_cut"]["loss_rel"]
        _require(apart < 1e-4, f"the losses of the cut run differ by {apart} in {precision}")


def recomputed_and_compiled(place: Place) -> None:
    """Activation checkpointing, compiled blocks and losses, and both, against neither; compiled bf16 against plain fp32 and bf16."""
    plain = _first_steps(small(place), place)
    place.note(recomputed=_steps_apart(_first_steps(small(place, checkpointing=True), place), plain))
    half = _first_steps(small(place, precision="bf16"), place)
    place.note(bf16=_steps_apart(half, plain))
    compiled: dict[str, Steps] = {}
    cases: tuple[tuple[str, Literal["fp32", "bf16"], bool], ...] = (
        ("compiled", "fp32", False), ("compiled_and_recomputed", "fp32", True), ("compiled_bf16", "bf16", False),
        ("compiled_bf16_residual", "bf16", False),
    )  # fmt: skip
    for name, precision, checkpointing in cases:
        config = small(place, precision=precision, checkpointing=checkpointing)
        if name.endswith("residual"):
            config = replace(config, train=replace(config.train, residual="bf16"))
        try:
            compiled[name] = _first_steps(config, place, prepare=lambda trainer: compile_all(trainer, place))
            place.note(**{name: _steps_apart(compiled[name], plain)}, graphs=torch._dynamo.utils.counters["stats"].get("unique_graphs"))
        except Exception as error:  # the other variants are still worth a try
            place.note(**{name: f"{type(error).__name__}: {str(error)[-1500:]}"})
    if "compiled_bf16" in compiled:
        place.note(compiled_bf16_against_bf16=_steps_apart(compiled["compiled_bf16"], half))
    found = place.found(place.name)
    _require(found["recomputed"]["loss_rel"] < 1e-4, "activation checkpointing changes the losses")
    for name, most in (("compiled", 1e-3), ("compiled_and_recomputed", 1e-3), ("compiled_bf16", 2e-2), ("compiled_bf16_residual", 2e-2)):
        _require(isinstance(found[name], dict), f"{name} did not run: {found[name]}")
        _require(found[name]["loss_rel"] < most, f"{name} changes the losses")


def non_finite(place: Place) -> None:
    """Steps whose loss is not finite change nothing, and the third in a row stops the run, by the step after it."""
    config = small(place, precision="auto")
    trainer, batch = build(config, place), made_batch(config)
    trainer.step(0, batch)
    before = {name: tensor.clone() for name, tensor in state_tensors(trainer.state).items()}
    spoilt = batch._replace(mask_weights=torch.full_like(batch.mask_weights, torch.inf))
    counts, stopped_at, message = [], 0, ""
    for step in range(1, 6):
        try:
            counts.append(float(trainer.step(step, spoilt)["train/skipped_steps_in_a_row"]))
        except NonFiniteError as error:
            stopped_at, message = step, str(error)
            break
    changed = [name for name, tensor in state_tensors(trainer.state).items() if not torch.equal(tensor, before[name])]
    place.note(counts=counts, stopped_at=stopped_at, message=message, changed=changed[:5])
    _require(not changed, f"skipped steps changed {', '.join(changed[:5])}")
    _require("3 steps in a row up to step 4" in message, f"the run stopped with {message!r} at {stopped_at}")


def wrapped_fsdp(place: Place) -> None:
    """The path for several workers under FSDP2, in a group of one."""
    _wrapped(place, "fsdp")


def wrapped_ddp(place: Place) -> None:
    """The path for several workers under DDP, in a group of one."""
    _wrapped(place, "ddp")


def _wrapped(place: Place, sharding: Literal["ddp", "fsdp"]) -> None:
    """Steps, a checkpoint, a fresh state from it and further steps, against one worker without a group."""
    plain = _first_steps(small(place), place)
    backend = "gloo" if place.dry else "nccl"
    if not place.dry:
        torch.cuda.set_device(0)
    os.environ.setdefault("LOCAL_WORLD_SIZE", "1")
    dist.init_process_group(backend, init_method=f"file://{place.work}/{place.name}.store", rank=0, world_size=1)
    for precision in ("fp32", "bf16"):
        config = small(place, precision=precision)
        config = replace(config, train=replace(config.train, sharding=sharding))
        alone = current_worker(config.train, use_gpu=not place.dry)
        several = replace(alone, world_size=2)  # a group of one takes the path of several workers only when told that it is two

        def fresh(config: PretrainConfig = config, alone: Any = alone, several: Any = several) -> Trainer:
            return Trainer(build_state(config, several), config, alone)

        trainer, steps = fresh(), []
        place.note(kind=type(trainer.state.student).__name__)
        steps += [_plain(trainer.step(step, made_batch(config, seed=step))) for step in (0, 1)]
        run_dir = place.work / f"{place.name}-{precision}"
        save_checkpoint(run_dir, 2, state_tensors(trainer.state), trainer.state.teacher_network, config, "device", several)
        straight = [*steps, *(_plain(trainer.step(step, made_batch(config, seed=step))) for step in (2, 3))]
        loaded = fresh()
        load_state(run_dir, 2, state_tensors(loaded.state), worker=several)
        steps += [_plain(loaded.step(step, made_batch(config, seed=step))) for step in (2, 3)]
        exported = step_dir(run_dir, 2) / "backbone" / "model.safetensors"
        place.note(**{f"{precision}_resumed": _steps_apart(steps, straight), f"{precision}_export_bytes": exported.stat().st_size})
        if precision == "fp32":
            place.note(fp32_against_unwrapped=_steps_apart(straight, plain))
        sharded = sum(parameter.numel() for parameter in trainer.state.student_network.parameters())
        place.note(
            parameters=sharded, first_weight=float(full_tensor(next(iter(trainer.state.student_network.parameters()))).double().norm())
        )
    found = place.found(place.name)
    _require(found["fp32_against_unwrapped"]["loss_rel"] < 1e-4, f"{sharding} changes the losses")
    _require(found["fp32_resumed"]["loss_rel"] < 1e-4, f"{sharding}: a loaded state does not continue the run")


def _first_steps(config: PretrainConfig, place: Place, *, prepare: Callable[[Trainer], None] | None = None) -> Steps:
    trainer = build(config, place)
    if prepare:
        prepare(trainer)
    found = [_plain(trainer.step(step, moved(made_batch(config, seed=step), place.device))) for step in range(4)]
    _require(prepare is None or is_compiled(trainer), "compilation failed; its cause is in the log")
    return found


class _Stop(Exception):
    pass


def _train(config: PretrainConfig, dataset: Path, run_dir: Path, *, last: int, place: Place) -> None:
    def stop(done: int) -> None:
        if done == last:
            raise _Stop

    run_dir.mkdir(exist_ok=True)
    try:
        train(config, dataset_dir=dataset, run_dir=run_dir, run_id="device", validate=None, use_gpu=not place.dry, at_checkpoint=stop)
    except _Stop:
        pass


def _logged(run_dir: Path) -> Steps:
    steps: dict[int, dict[str, float]] = {}
    for step, name, value in read_metrics(run_dir / "metrics.jsonl"):
        if name.startswith(_PARTS):
            steps.setdefault(step, {})[name] = value
    return [steps[step] for step in sorted(steps)]


def _plain(values: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if name.startswith(_PARTS)}


def _steps_apart(ours: Steps, theirs: Steps) -> dict[str, Any]:
    """Greatest relative differences of losses and of gradient norms, and those of the first step's parts."""

    def apart(a: float, b: float) -> float:
        return abs(a - b) / max(abs(b), 1e-6)

    def worst(prefix: str, count: int) -> float:
        pairs = zip(ours[:count], theirs[:count], strict=True)
        return max(apart(a[name], b[name]) for a, b in pairs for name in b if name.startswith(prefix))

    everything = len(theirs)
    return {
        "loss_rel": worst("loss/total", everything),
        "any_loss_rel": worst("loss/", everything),
        "first_loss_rel": worst("loss/", 1),
        "grad_norm_rel": worst("grad_norm/", everything),
        "first_parts_rel": {name: apart(ours[0][name], theirs[0][name]) for name in theirs[0]},
    }


def _gradients_apart(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The whole gradient's relative distance, and the parameters that differ most."""
    difference = sum(float((ours[name] - theirs[name]).square().sum()) for name in theirs)
    size = sum(float(theirs[name].square().sum()) for name in theirs)
    each = {name: float((ours[name] - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-12)) for name in theirs}
    worst = sorted(each, key=lambda name: -each[name])[:5]
    return {"gradient_rel": (difference / size) ** 0.5, "worst_parameters": {name: each[name] for name in worst}}


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
