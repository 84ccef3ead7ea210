"""What cannot be scored, said before anything is hashed, decoded or computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evaluation.config import EvaluateConfig
from evaluation.heads import HeadError, changes_backbone, check_curve_windows, check_peft
from evaluation.tasks import TaskData

if TYPE_CHECKING:
    from evaluation.backbone import ModelRef  # builds on torch

__all__ = ["OF_MAPS", "check_asked", "check_curve"]

OF_MAPS = {"segmentation": "masks", "detection": "boxes"}
"""kinds of labels that need patch tokens, and what they are called"""

_SCALES = ("boosted_input_scale", "boosted_test_scales", "decoder_test_scales")


def check_asked(heads: Sequence[str], task: TaskData, model: ModelRef, config: EvaluateConfig, *, told: str) -> None:
    """Refuse heads and settings that do not serve a task and a model.

    Args:
        heads: that are asked for, of `chosen_heads`.
        task: that is scored.
        model: that is scored.
        config: of the evaluation.
        told: what `--model` calls the model.

    Raises:
        ValueError: the model cannot be scored on the task.
        HeadError: a head or a setting does not serve the model or the task.
    """
    is_video = model.clip_network is not None
    if is_video and not task.has_clips and task.kind not in OF_MAPS:
        raise ValueError(f"--model {told} is a video network, and {task.name} has classes of single images; give an image backbone")
    if task.kind in OF_MAPS and model.network is not None:
        raise ValueError(
            f"--model {told} gives one vector an image and no patch tokens, so {task.name}'s {OF_MAPS[task.kind]} cannot be scored"
        )
    check_peft(heads)
    tuned = [name for name in heads if changes_backbone(name)]
    if tuned and model.network is not None:
        raise ValueError(f"--model {told} is a network of a package, whose weights cannot be trained here; leave out {tuned[0]}")
    if tuned and is_video and not task.has_clips:
        raise HeadError(f"head {tuned[0]} trains image backbones on images, and --model {told} is a video network; leave it out")
    if is_video and task.kind == "segmentation":
        _check_scales(heads, config, told)
    if config.few_shot:
        _check_few_shot(task, config, is_video=is_video, told=told)


def _check_scales(heads: Sequence[str], config: EvaluateConfig, told: str) -> None:
    usual = EvaluateConfig()
    changed = [name for name in _SCALES if getattr(config, name) != getattr(usual, name)]
    if "boosted_linear" in heads or changed:
        what = f"--{changed[0].replace('_', '-')}" if changed else "head boosted_linear"
        raise HeadError(f"--model {told} is a video network, which sees frames at one size; leave out {what}")


def check_curve(task: TaskData, config: EvaluateConfig) -> None:
    """Refuse a few-shot curve of labels that have none, whatever the model.

    Raises:
        HeadError: of boxes, or of clips with several windows.
    """
    if config.few_shot and task.kind == "detection":
        raise HeadError(f"{task.name} has boxes, of which there is no few-shot curve; leave out --few-shot, or {task.name}")
    if config.few_shot and task.has_clips:
        check_curve_windows(config.windows_of(task.clip_windows))


def _check_few_shot(task: TaskData, config: EvaluateConfig, *, is_video: bool, told: str) -> None:
    check_curve(task, config)
    if is_video and not task.has_clips:
        raise HeadError(f"--model {told} is a video network, whose masks have no few-shot curve; leave out --few-shot")
