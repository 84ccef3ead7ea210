"""Score one frozen backbone on one task: chosen on the validation split, reported on the test split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch

from evaluation.backbone import Backbone, ModelRef, load_backbone
from evaluation.config import EvaluateConfig
from evaluation.features import cached_features, cached_tokens
from evaluation.intervals import FEWEST_GROUPS
from evaluation.knn import choose_k, knn_predict
from evaluation.leakage import LeakVerdict, find_leaks
from evaluation.linear import fit_linear_probe
from evaluation.metrics import Interval, classification_scores, mean_scores
from evaluation.references import reference_rows
from evaluation.segment import fit_segmentation_head, score_masks, target_masks
from evaluation.tasks import SPLITS, Fingerprint, Item, TaskData, fingerprint
from warehouse.provenance import current_provenance
from warehouse.records import Score
from warehouse.store import content_id, read_json, write_json

__all__ = ["STAGE_VERSION", "evaluate_model", "reference_scores"]

STAGE_VERSION = 5

Ints = npt.NDArray[np.int64]


def evaluate_model(
    model: ModelRef,
    *,
    task: TaskData,
    identity: Fingerprint,
    config: EvaluateConfig,
    cache_dir: str,
    leak: LeakVerdict | None = None,
    pretraining: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Score, ...]:
    """Every head's test scores of one model on one task, with 95% intervals over groups.

    Classification and ordinal tasks give k-NN and linear-probe rows, segmentation tasks linear-segmentation rows. A second call with
    the same weights, data and settings returns the scores it finds under `cache_dir`.

    Args:
        model: the backbone.
        task: what to score it on.
        identity: `fingerprint(task)`, made once for all models.
        config: protocol.
        cache_dir: folder for features, patch tokens and finished scores.
        leak: what the task's splits share; where not given only files and groups are compared.
        pretraining: by model id, whether test images are among those that the model learned from; unknown where not given.

    Raises:
        TaskError: the task's files are missing or damaged, or a split or class is empty.
        BackboneError: the exported folder is not usable.
    """
    warnings, num_leaks = task.validate(), len(task.leaks()) + len(identity.leaks)
    num_groups = len({item.group for item in task.split("test")})
    if num_groups < FEWEST_GROUPS:
        warnings = (*warnings, f"the test split has {num_groups} groups: below {FEWEST_GROUPS} no interval is given")
    cache = Path(cache_dir)
    leak = leak or find_leaks(task, identity.hashes or fingerprint(task).hashes, judge=None)
    # random weights have learned from nothing
    learned = "clean" if model.weights == "random" else pretraining.get(model.model_id, "unknown")
    settings = {name: value for name, value in asdict(config).items() if name not in ("device", "num_workers", "batch_size")}
    what = [model.model_id, model.label, model.weights, task.name, identity.data_id, task.notes, asdict(config), leak.details, learned]
    key = content_id([STAGE_VERSION, *what, *([asdict(task.own_protocol)] if task.own_protocol else [])])
    evidence = cache / f"scores-{key}.json"
    if evidence.is_file():
        return tuple(
            Score(**{**row, "value": _number(row["value"]), "ci_low": _number(row["ci_low"]), "ci_high": _number(row["ci_high"])})
            for row in read_json(evidence)
        )
    backbone = load_backbone(model, device=config.device, image_size=config.image_size, seed=config.seed)
    heads = _segmentation if task.kind == "segmentation" else _classification
    common = {
        "image_size": str(backbone.image_size),
        "weights": model.weights,
        "protocol": "frozen; chosen on val, reported on test",
        **({"splits": "; ".join(task.notes)} if task.notes else {}),
        **({"warnings": "; ".join((*warnings, *identity.leaks))} if warnings or identity.leaks else {}),
        **({"num_leaks": str(num_leaks)} if num_leaks else {}),
        **leak.details,
        "leak_pretraining": learned,
        "settings": content_id(settings)[:12],
        "code": current_provenance().code_version[:12],
    }
    scores = tuple(
        _score(model, task, identity.data_id, head, metric, interval, {**common, **details}, config.seed)
        for head, metric, interval, details in heads(backbone, model, task, identity.data_id, config, cache)
    )
    write_json(evidence, [_finite(asdict(score)) for score in scores])
    return scores


def reference_scores(task: TaskData, *, identity: Fingerprint, config: EvaluateConfig, leak: LeakVerdict) -> tuple[Score, ...]:
    """The test scores of a guess that looks at no picture, as rows beside those of models."""
    ref = ModelRef(model_id=content_id(["reference", identity.data_id]), label="no picture", path="")
    rows = reference_rows(task, group_indices(task.split("test")), num_bootstrap=config.num_bootstrap, seed=config.seed)
    common = {**leak.details, "leak_pretraining": "clean", "protocol": "guessed from train", "code": current_provenance().code_version[:12]}
    common |= {"splits": "; ".join(task.notes)} if task.notes else {}
    return tuple(
        _score(ref, task, identity.data_id, "constant", metric, interval, {**common, **details}, config.seed)
        for metric, (interval, details) in rows.items()
    )


_Rows = list[tuple[str, str, Interval, dict[str, str]]]


def _classification(backbone: Backbone, model: ModelRef, task: TaskData, data_id: str, config: EvaluateConfig, cache: Path) -> _Rows:
    features = cached_features(
        backbone,
        model,
        task.items,
        data_id=data_id,
        seed=config.seed,
        cache_dir=cache,
        batch_size=config.batch_size,
        num_workers=config.num_workers,
    )
    labels = class_indices(task.items, task.classes)
    rows = {split: np.flatnonzero([item.split == split for item in task.items]) for split in SPLITS}
    parts = {split: {name: values[rows[split]] for name, values in features.items()} for split in SPLITS}
    truth = {split: labels[rows[split]] for split in SPLITS}
    groups = group_indices([task.items[i] for i in rows["test"]])
    scored: _Rows = []
    for head in task.protocol.heads:
        predictions, details = _HEADS[head](parts, truth, task, backbone.device, config)
        intervals = classification_scores(
            truth["test"],
            predictions,
            groups,
            num_classes=len(task.classes),
            names=task.protocol.metrics,
            num_bootstrap=config.num_bootstrap,
            seed=config.seed,
        )
        scored += [(head, name, interval, details) for name, interval in intervals.items()]
    return scored


_Parts = dict[str, dict[str, npt.NDArray[np.float32]]]
"""feature sets by split and name, [N, D] each"""


def _by_knn(
    parts: _Parts, truth: dict[str, Ints], task: TaskData, device: torch.device, config: EvaluateConfig
) -> tuple[Ints, dict[str, str]]:
    """Classes of the test split, [N], and how they were found."""
    num_classes, metric = len(task.classes), task.protocol.primary
    vectors = {split: torch.from_numpy(parts[split]["last"]).to(device) for split in SPLITS}
    labels = torch.from_numpy(truth["train"]).to(device)

    def neighbours(split: str) -> Ints:
        return knn_predict(vectors["train"], labels, vectors[split], k=config.k, num_classes=num_classes, temperature=config.temperature)

    # the softmax runs over the largest k in the list, so test is predicted with the whole list too
    chosen, val_score = choose_k(neighbours("val"), truth["val"], k=config.k, num_classes=num_classes, metric=metric)
    details = {"k": str(config.k[chosen]), "temperature": str(config.temperature), f"val_{metric}": f"{val_score:.4f}"}
    return neighbours("test")[chosen], details


def _by_probe(
    parts: _Parts, truth: dict[str, Ints], task: TaskData, _: torch.device, config: EvaluateConfig
) -> tuple[Ints, dict[str, str]]:
    """Classes of the test split, [N], and how they were found."""
    metric = task.protocol.primary
    probe = fit_linear_probe(
        parts["train"],
        truth["train"],
        parts["val"],
        truth["val"],
        regularization=config.regularization,
        num_classes=len(task.classes),
        metric=metric,
        balanced=config.class_weight == "balanced",
        max_iterations=config.max_iterations,
    )
    details = {
        "features": probe.feature_set,
        "C": f"{probe.regularization:g}",
        "heads_tried": str(probe.num_tried),
        f"val_{metric}": f"{probe.val_score:.4f}",
    }
    return probe.predict(parts["test"]), details


_HEADS = {"knn": _by_knn, "linear": _by_probe}


def _segmentation(backbone: Backbone, model: ModelRef, task: TaskData, data_id: str, config: EvaluateConfig, cache: Path) -> _Rows:
    items = {split: task.split(split) for split in SPLITS}
    tokens = {
        split: cached_tokens(
            backbone,
            model,
            items[split],
            data_id=f"{data_id} {split}",
            seed=config.seed,
            cache_dir=cache,
            batch_size=config.batch_size,
            num_workers=config.num_workers,
        )
        for split in SPLITS
    }
    grid_height, grid_width = tokens["test"].shape[2:]
    size = max(4 * grid_width, backbone.image_size // 4)
    head = fit_segmentation_head(
        tokens["train"],
        target_masks(items["train"], size=size),
        tokens["val"],
        target_masks(items["val"], size=size),
        learning_rates=config.segmentation_learning_rates,
        epochs=config.segmentation_epochs,
        seed=config.seed,
        device=backbone.device,
    )
    dices, ious = score_masks(head, tokens["test"], items["test"], device=backbone.device)
    groups = group_indices(items["test"])
    details = {
        "learning_rate": f"{head.learning_rate:g}",
        "epoch": str(head.epoch),
        "val_dice": f"{head.val_dice:.4f}",
        "tokens": f"{grid_width}x{grid_height}",
        "scored_at": "the mask's native size",
    }
    return [
        ("linear_segmentation", name, mean_scores(values, groups, num_bootstrap=config.num_bootstrap, seed=config.seed), details)
        for name, values in (("dice", dices), ("iou", ious))
        if name in task.protocol.metrics
    ]


def class_indices(items: Sequence[Item], classes: tuple[str, ...]) -> Ints:
    """Class index of every item, [N]."""
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[str(item.label)] for item in items], dtype=np.int64)


def group_indices(items: Sequence[Item]) -> Ints:
    """Groups numbered from 0 in order of appearance, [N]."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(item.group, len(numbers)) for item in items], dtype=np.int64)


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
