"""Test scores of heads that tell classes of clips."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from evaluation.backbone import ModelRef
from evaluation.class_rows import feature_rows, mean_of_logits
from evaluation.config import EvaluateConfig
from evaluation.heads import FittedClasses, HeadSettings, Labelled, check_curve_windows
from evaluation.stored_evaluation import Places, Rows
from evaluation.tasks import TaskData
from evaluation.tuned_backbone import is_tuned_on
from evaluation.video.clip_backbone import ClipBackbone
from evaluation.video.clip_features import cached_clip_features, clip_device, num_frames_of
from evaluation.video.clip_frames import ClipSource
from evaluation.video.clip_tuning import tuned_clips

__all__ = ["clip_rows"]

Floats = npt.NDArray[np.float32]


def clip_rows(
    backbone: ClipBackbone, model: ModelRef, task: TaskData, data_id: str, config: EvaluateConfig, places: Places, source: ClipSource
) -> Rows:
    """Fit every head on train and val, store it with its predictions, and score those. A clip's logits are the mean of its windows'.

    Raises:
        HeadError: a head does not exist, does not serve the task's labels, or few-shot curves are asked for of several windows.
        BackboneError: a head changes the backbone, and it cannot be trained.
        ClipError: a clip cannot be read.
    """
    windows = config.windows_of(task.clip_windows)
    if config.few_shot:
        check_curve_windows(windows)
    features = cached_clip_features(
        backbone, model, task.items, source, config, data_id=places.images_id, cache_dir=places.cache, num_windows=windows
    )
    frames = num_frames_of(backbone, config)
    return feature_rows(
        features,
        model,
        task,
        data_id,
        config,
        places,
        device=clip_device(config.device),
        image_size=backbone.image_size,
        num_windows=windows,
        tune=partial(_tuned, backbone, task, places, source, windows) if is_tuned_on(model) else None,
        clips={"frames": frames, "windows": windows, "pooling": config.clip_pooling, "seconds": usual_seconds(task)},
        told={
            "clip_frames": str(frames),
            "clip_windows": str(windows),
            "clip_pooling": config.clip_pooling,
            **({"chosen_by": "single windows of val clips, not the mean of their logits"} if windows > 1 else {}),
        },
    )


def _tuned(
    backbone: ClipBackbone,
    task: TaskData,
    places: Places,
    source: ClipSource,
    num_windows: int,
    name: str,
    train: Labelled,
    val: Labelled,
    settings: HeadSettings,
) -> tuple[FittedClasses, Floats]:
    head, probabilities = tuned_clips(backbone, task, places, source, name, train, val, settings, num_windows=num_windows)
    return head, mean_of_logits(probabilities, num_windows)


def usual_seconds(task: TaskData) -> float:
    """The median length of the training clips, which a prediction over a whole video takes for its windows."""
    return float(np.median([item.span[1] - item.span[0] for item in task.split("train") if item.span is not None]))
