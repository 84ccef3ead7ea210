"""Score one backbone on one task: chosen on the validation split, reported on the test split."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from evaluation.backbone import Backbone, ModelRef, config_id, load_backbone
from evaluation.class_rows import class_rows
from evaluation.config import EvaluateConfig
from evaluation.detection import detection_rows, reference_box_rows
from evaluation.intervals import FEWEST_GROUPS
from evaluation.leakage import LeakVerdict, find_leaks
from evaluation.mask_rows import mask_rows
from evaluation.metrics import Interval
from evaluation.references import Guess, picture_blind, reference_rows
from evaluation.stored_evaluation import Places, Rows, head_settings, places_of
from evaluation.tasks import Fingerprint, TaskData, TaskError, fingerprint
from evaluation.video.clip_backbone import ClipBackbone
from evaluation.video.clip_features import load_clip_backbone
from evaluation.video.clip_frames import ClipSource
from evaluation.video.clip_rows import clip_rows
from evaluation.video.context_rows import context_rows
from warehouse.provenance import current_provenance
from warehouse.records import Score
from warehouse.store import content_id, read_json, write_json

__all__ = ["STAGE_VERSION", "evaluate_model", "reference_scores"]

STAGE_VERSION = 6

_FILES = ("head_file", "predictions_file")


def evaluate_model(
    model: ModelRef,
    *,
    task: TaskData,
    identity: Fingerprint,
    config: EvaluateConfig,
    cache_dir: str,
    root: str | None = None,
    data: str | None = None,
    leak: LeakVerdict | None = None,
    pretraining: Mapping[str, str] = MappingProxyType({}),
    clips: ClipSource | None = None,
) -> tuple[Score, ...]:
    """Every head's test scores of one model on one task, with 95% intervals over groups.

    The heads are those of the task's protocol, or of `config.heads`. Each is kept, with its predictions of every test item, under
    `root`/evaluations. A second call with the same weights, data and settings returns the scores it finds under `cache_dir`.

    Args:
        model: the backbone.
        task: what to score it on.
        identity: `fingerprint(task)`, made once for all models.
        config: protocol.
        cache_dir: folder for features, patch tokens and finished scores.
        root: folder that keeps heads and predictions, the lake; `cache_dir` unless given.
        data: folder of the task's files, to which paths in predictions are relative; one that holds them all unless given.
        leak: what the task's splits share; where not given only files and groups are compared.
        clips: how videos are read, of a task of clips.
        pretraining: by model id, whether test images are among those that the model learned from; unknown where not given.

    Raises:
        TaskError: the task's files are missing or damaged, or a split or class is empty.
        BackboneError: the exported folder is not usable.
        HeadError: a head does not exist, or does not serve the task's labels.
    """
    warnings, num_leaks = task.validate(), len(task.leaks()) + len(identity.leaks)
    num_groups = len({item.group for item in task.split("test")})
    if num_groups < FEWEST_GROUPS:
        warnings = (*warnings, f"the test split has {num_groups} groups: below {FEWEST_GROUPS} no interval is given")
    cache = Path(cache_dir)
    leak = leak or find_leaks(task, identity.hashes or fingerprint(task).hashes, judge=None)
    # random weights have learned from nothing
    learned = "clean" if model.weights == "random" else pretraining.get(model.model_id, "unknown")
    settings = {**head_settings(config, task), "num_bootstrap": config.num_bootstrap}
    division = [task.split_protocol, task.count_difference]
    own = [model.model_id, model.label, model.weights, model.draw, config_id(model), task.name, identity.data_id, task.notes]
    what = [*own, division, config.identity(has_clips=task.has_clips), leak.details, learned]
    key = content_id([STAGE_VERSION, *what, *([asdict(task.own_protocol)] if task.own_protocol else [])])
    evidence = cache / f"scores-{key}.json"
    places = places_of(model, task, identity, config, cache=cache, root=Path(root) if root else None, data=Path(data) if data else None)
    if evidence.is_file():
        found = tuple(
            Score(**{**row, "value": _number(row["value"]), "ci_low": _number(row["ci_low"]), "ci_high": _number(row["ci_high"])})
            for row in read_json(evidence)
        )
        if all((places.root / file).is_file() for score in found for name in _FILES if (file := score.details.get(name))):
            return found
    found_rows, seen = _rows(model, task, identity.data_id, config, places, clips)
    common = {
        **seen,
        "weights": model.weights,
        "backbone": "frozen",
        **({"backbone_config": told} if (told := config_id(model)) else {}),
        "protocol": "frozen; chosen on val, reported on test",
        **_division(task),
        **({"warnings": "; ".join((*warnings, *identity.leaks))} if warnings or identity.leaks else {}),
        **({"num_leaks": str(num_leaks)} if num_leaks else {}),
        **({"unreadable": str(len(task.unreadable))} if task.unreadable else {}),
        **leak.details,
        "leak_pretraining": learned,
        "settings": content_id(settings)[:12],
        "code": current_provenance().code_version[:12],
    }
    scores = tuple(
        _score(model, task, identity.data_id, head, metric, interval, {**common, **details}, config.seed)
        for head, metric, interval, details in found_rows
    )
    write_json(evidence, [_finite(asdict(score)) for score in scores])
    return scores


def reference_scores(
    task: TaskData, *, identity: Fingerprint, config: EvaluateConfig, leak: LeakVerdict, guess: Guess | None = None
) -> tuple[Score, ...]:
    """The test scores of a guess that looks at no picture, as rows beside those of models; `guess` is made unless given."""
    ref = ModelRef(model_id=content_id(["reference", task.name]), label="no picture", path="")
    if task.kind == "detection":
        rows = reference_box_rows(task)
    else:
        guess = guess or picture_blind(task)
        found = reference_rows(task, guess, num_bootstrap=config.num_bootstrap, seed=config.seed)
        rows = {metric: (interval, guess.details) for metric, interval in found.items()}
    code = current_provenance().code_version[:12]
    common = {**_division(task), **leak.details, "leak_pretraining": "clean", "protocol": "guessed from train", "code": code}
    return tuple(
        _score(ref, task, identity.data_id, "constant", metric, interval, {**common, **details}, config.seed)
        for metric, (interval, details) in rows.items()
    )


def _rows(
    model: ModelRef, task: TaskData, data_id: str, config: EvaluateConfig, places: Places, clips: ClipSource | None
) -> tuple[Rows, dict[str, str]]:
    """What the heads score, and at which size the model saw the pictures."""
    if task.has_clips or model.clip_network is not None:
        network = load_clip_backbone(model, config)
        if task.has_clips:
            if clips is None:
                raise TaskError(f"task {task.name} is of clips, and nothing was given that reads videos")
            return clip_rows(network, model, task, data_id, config, places, clips), _seen(network, config)
        of_frames = detection_rows if task.kind == "detection" else context_rows
        return of_frames(network, model, task, data_id, config, places), _seen(network, config)
    backbone = load_backbone(model, device=config.device, image_size=config.side, seed=config.seed)
    rows = {"segmentation": mask_rows, "detection": detection_rows}.get(task.kind, class_rows)
    return rows(backbone, model, task, data_id, config, places), _seen(backbone, config)


def _seen(network: Backbone | ClipBackbone, config: EvaluateConfig) -> dict[str, str]:
    """The side of the pictures that a network saw; where they differ, its own, and that which all models were asked to take."""
    size = network.image_size
    others = {"own_image_size": getattr(network, "own_size", None), "asked_image_size": config.side}
    return {"image_size": str(size), **{name: str(other) for name, other in others.items() if other not in (None, size)}}


def _division(task: TaskData) -> dict[str, str]:
    """What the items are, and how they were divided."""
    return {
        **({"unit": task.unit} if task.unit != "images" else {}),
        **({"split_protocol": task.split_protocol} if task.split_protocol else {}),
        **({"fold": str(task.fold), "num_folds": str(task.num_folds)} if task.fold is not None else {}),
        **({"splits": "; ".join(task.notes)} if task.notes else {}),
    }


def _score(
    model: ModelRef, task: TaskData, data_id: str, head: str, metric: str, interval: Interval, details: dict[str, str], seed: int
) -> Score:
    test = task.split("test")
    details = {**details, **({"interval": interval.method} if interval.method else {})}
    return Score(
        score_id=content_id([STAGE_VERSION, model.model_id, model.weights, task.name, data_id, "test", head, metric, seed, details]),
        model_id=model.model_id,
        model=model.label,
        task=task.name,
        data_id=data_id,
        split="test",
        head=head,
        metric=metric,
        value=interval.value,
        ci_low=interval.low,
        ci_high=interval.high,
        num_items=len(test),
        num_groups=len({item.group for item in test}),
        seed=seed,
        details=details,
    )


def _finite(row: dict[str, object]) -> dict[str, object]:
    """JSON has no not-a-number; null stands for it."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}


def _number(value: float | None) -> float:
    return math.nan if value is None else value
