"""A step that was not finite, done again and told in sentences."""

from __future__ import annotations

import math

import torch

from flows.parameters import changed_config
from flows.stages.trained_run import find_run
from pretrain.replay import Replay, replay
from warehouse.lake import Lake

__all__ = ["run_replay"]

_MOST = 20


def run_replay(lake: Lake, run_id: str) -> str:
    """Do again the step for which a pretraining run stopped; nothing is written, trained or recorded.

    Raises:
        ValueError: there is no such run, or it kept no step.
    """
    run = find_run(lake, run_id, purpose="replay")
    config = changed_config(run_id, run.settings, {})
    found = replay(run.run_dir, config, dataset_dir=run.dataset_dir, use_gpu=torch.cuda.is_available())
    return "\n".join(_said(run_id, found))


def _said(run_id: str, found: Replay) -> list[str]:
    trace, kept = found.trace, found.kept
    lines = [
        f"{run_id}, step {kept.step + 1} again in {'bf16' if found.is_bf16 else 'fp32'}: {'finite' if trace.is_finite else 'not finite'}"
    ]
    if not kept.is_before:
        lines.append("a later step changed the state before the run stopped, so this need not be what happened")
    if kept.num_workers > 1:
        lines.append(f"the run had {kept.num_workers} workers; here one does the whole batch, so sums differ in rounding")
    lines.append(f"state before it: {_names(trace.tensors, 'tensors are not finite') or 'finite'}")
    where = trace.module or "none"
    lines.append(f"first module whose output is not finite: {where}" + ("" if trace.module is None else _entered(trace.enters_finite)))
    lines.append("losses: " + ", ".join(f"{name} {value:g}" for name, value in trace.losses.items()))
    bad = [name for name, value in trace.losses.items() if name != "total" and not math.isfinite(value)]
    lines.append(f"losses that are not finite: {', '.join(bad) or 'none'}")
    lines.append(f"gradients: {_names(trace.gradients, 'parameters have one that is not finite') or 'finite'}")
    if trace.operation:
        lines.append(f"first operation of the backward pass that gave NaN: {trace.operation}")
    lines.append(_cause(found))
    shown = [frame for frame in found.frames if not frame.is_finite] or list(found.frames)
    num_bad = len(trace.bad_images)
    lines.append(
        f"images: {num_bad} of {len(found.frames)} have features that are not finite; lowest, mean and highest value of their crops:"
    )
    lines += [
        f"  {frame.frame_id}  {frame.lowest} {frame.mean:.1f} {frame.highest}  features {'finite' if frame.is_finite else 'not finite'}"
        for frame in shown[:_MOST]
    ]
    return [*lines, f"  and {len(shown) - _MOST} more"] if len(shown) > _MOST else lines


def _names(names: tuple[str, ...], what: str) -> str:
    return f"{len(names)} {what}, first {names[0]}" if names else ""


def _entered(is_finite: bool) -> str:
    return ", from finite input" if is_finite else ", whose input was not either"


def _cause(found: Replay) -> str:
    if found.trace.is_finite:
        return "it does not happen again here: another device, library or number of workers rounds otherwise"
    if found.is_bf16 and found.in_fp32.is_finite:
        return "in fp32 it is finite: precision is the cause; go on with --set train.precision=fp32"
    many = len(found.trace.bad_images)
    if found.trace.tensors:
        return "in fp32 it is not finite either, and the state was not before: an earlier checkpoint is needed"
    if 0 < many < len(found.frames):
        return "in fp32 it is not finite either, for some images alone: look at them"
    return "in fp32 it is not finite either, for no image in particular: the weights are the cause; go on with a lower optim.base_lr"
