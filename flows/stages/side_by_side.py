"""Several models on several tasks as one table: all are looked at before the first is scored, and all see images at one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from curation.embedding import EmbedConfig
from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.heads import chosen_heads
from evaluation.tasks import configured_task
from flows.job import Job
from flows.runners import say
from flows.stages.evaluate_checks import check_asked
from flows.stages.rotation import evaluate_folds
from flows.stages.scored_models import encoder_model, own_side, scored_model
from warehouse.records import Score

__all__ = ["evaluate_models"]


def evaluate_models(
    job: Job, *, models: Sequence[str], pairs: Sequence[tuple[str, Path]], encoder: EmbedConfig, config: EvaluateConfig
) -> tuple[Score, ...]:
    """The scores of every model on every task, with the baselines of each.

    Args:
        job: the lake that gets the scores.
        models: as `scored_model` takes them; the own image size of the first is that of all, unless `config` says otherwise.
        pairs: tasks, each with its folder.
        encoder: the baseline.
        config: protocol.

    Raises:
        LakeError, ValueError: no such model, or one that does not serve a task; nothing was computed then.
        TaskError: no such task, or its data is unusable.
        HeadError: no such head, or it does not serve a task's labels.
    """
    found = [scored_model(job.lake, told, allow_download=encoder.allow_download)[0] for told in models]
    if len(models) * len(pairs) > 1:  # a single one is checked where it is scored, before anything is computed too
        _check_all(found, models, pairs, config)
    config = _at_one_size([*found, encoder_model(job.lake, encoder)], config)
    return tuple(
        score
        for task, data in pairs
        for told in models
        for score in evaluate_folds(job, checkpoint=told, task=task, data=data, encoder=encoder, config=config)
    )


def _check_all(found: Sequence[ModelRef], models: Sequence[str], pairs: Sequence[tuple[str, Path]], config: EvaluateConfig) -> None:
    fold = 0 if config.fold == "all" else config.fold
    for task, data in pairs:
        read = configured_task(task, data, config, fold=fold)
        heads = chosen_heads(config.heads, read.protocol.heads, read.kind)
        for told, model in zip(models, found, strict=True):
            check_asked(heads, read, model, config, told=told)


def _at_one_size(models: Sequence[ModelRef], config: EvaluateConfig) -> EvaluateConfig:
    """The settings with the size that all models are asked to take, after saying which of them were saved for another."""
    if config.image_size == "own":
        return config
    own = [own_side(model) for model in models]
    side = config.side or own[0]
    for model, size in {model.model_id: (model, size) for model, size in zip(models, own, strict=True)}.values():
        if size != side and (model.network is not None or model.clip_network is not None):
            say(f"evaluate: {model.label} takes images of {size} px alone, so it does not see them at {side} px as the others do")
        elif size != side:
            say(f"evaluate: {model.label} sees images at {side} px, not at its own {size}")
    return replace(config, image_size=side)
