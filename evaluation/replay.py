"""A score computed again: from its stored predictions, and from its stored head on features extracted anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from evaluation.backbone import Backbone, ModelRef, config_id, load_backbone
from evaluation.class_rows import class_scores, mean_of_logits
from evaluation.clinical_rows import CLINICAL_MASK_METRICS, clinical_scores
from evaluation.config import EvaluateConfig
from evaluation.detection import detection_value, detection_value_again
from evaluation.features import extract_features
from evaluation.heads import FittedClasses, FittedMasks, HeadError, Maps, load_head, maps_wanted, read_settings
from evaluation.images import mask_pixels
from evaluation.labels import numbered
from evaluation.maps import resized_backbone
from evaluation.mask_rows import scoring_views
from evaluation.mask_scoring import image_scores, predicted_masks
from evaluation.metrics import CLASSIFICATION_METRICS
from evaluation.sequence_scores import SEQUENCE_METRICS, sequence_means, sequence_scores
from evaluation.stored_evaluation import item_of
from evaluation.tasks import BinaryCut, Item
from evaluation.tuned_backbone import adapted_backbone
from evaluation.video.clip_features import clip_device, extract_clip_features, load_clip_backbone, num_frames_of
from evaluation.video.clip_frames import ClipSource
from evaluation.video.clip_tuning import adapted_clip_backbone
from evaluation.video.context_rows import context_batches, context_levels
from warehouse.records import Score
from warehouse.store import file_sha256

__all__ = ["ClipNetworks", "StoredScore", "from_head", "from_predictions", "loaded_backbone", "open_score", "stored_config", "stored_model"]

ClipNetworks = Callable[[Path], Callable[[str, str, int], Any] | None]
"""Finds the video network of a folder, for `ModelRef.clip_network`; None if the folder holds an image network."""


@dataclass(frozen=True, slots=True)
class StoredScore:
    """A score with the files that its evaluation kept."""

    score: Score
    root: Path
    """the lake"""
    head: Path
    settings: dict[str, Any]
    """the JSON beside the head"""
    predictions: pa.Table

    @property
    def data(self) -> Path:
        """Where the evaluation found its data."""
        return Path(self.settings["data"])


def open_score(score: Score, root: Path) -> StoredScore:
    """The files of a score.

    Raises:
        HeadError: it has none, or they are gone.
    """
    named = score.details.get("head_file"), score.details.get("predictions_file")
    if named[0] is None or named[1] is None:
        kinds = (
            ("shots", "is of a few-shot curve"),  # its mean rows have draws as well
            ("fold_values", "is of all folds together"),
            ("reference", "is of no model"),
            ("draws", "is the mean of several draws of random weights"),
        )
        kind = next((what for name, what in kinds if name in score.details), "was made before heads were kept")
        raise HeadError(f"score {score.score_id} {kind}, so it has no stored head; give a score whose details have head_file")
    head, predictions = root / named[0], root / named[1]
    if not predictions.is_file():
        raise HeadError(f"predictions {str(predictions)!r} are gone; evaluate again to make them")
    return StoredScore(score, root, head, read_settings(head), pq.read_table(predictions))


def from_predictions(stored: StoredScore, data: Path | None = None) -> float:
    """The score's number from the stored predictions, and for the Dice of volumes from the true masks too.

    Args:
        stored: the score.
        data: folder of the evaluation set, for the true masks; where the evaluation found it unless given.

    Raises:
        HeadError: they do not have its metric, or a true mask is missing.
    """
    table, metric = stored.predictions, stored.score.metric
    if stored.settings["kind"] == "detection":
        return detection_value(table, stored.settings, metric)
    if stored.settings["kind"] == "segmentation":
        if metric in ("sequence_dice", "sequence_iou"):
            return float(sequence_means(table[metric[9:]].to_numpy(), numbered(table["group"].to_pylist())).mean())
        if metric in SEQUENCE_METRICS:
            items = _items(stored, stored.data if data is None else data)
            predicted = [np.asarray(Image.open(BytesIO(mask)), np.bool_) for mask in table["predicted_mask"].to_pylist()]
            return _sequence_value(stored, {}, predicted, items)
        if metric not in table.column_names:
            raise HeadError(f"the stored predictions have no {metric}; evaluate again to make them")
        return float(table[metric].to_numpy().mean())
    probabilities = np.stack(table["probabilities"].to_pylist()).astype(np.float32)
    return _class_value(stored, probabilities)


def from_head(
    stored: StoredScore,
    data: Path,
    *,
    device: str = "auto",
    num_workers: int = 2,
    clips: ClipSource | None = None,
    clip_network: ClipNetworks | None = None,
) -> float:
    """The score's number from the stored head, on features of the test images that are computed anew.

    Args:
        stored: the score.
        data: folder of the evaluation set, as `--data` gave it.
        device: auto, cpu or cuda.
        num_workers: threads that decode images.
        clips: how videos are read, for a head of clips.
        clip_network: finds the video network of a folder, for a head of one.

    Raises:
        ClipError: a clip cannot be read.
        HeadError: the backbone is not there or another one, or an image is missing.
    """
    items = _items(stored, data)
    config = replace(stored_config(stored.settings["settings"]), device=device, num_workers=num_workers)
    model = stored_model(stored, clip_network)
    if told := stored.settings.get("clips"):
        if clips is None:
            raise HeadError("the head tells classes of clips, and nothing was given that reads videos")
        network = load_clip_backbone(model, config)
        of_clips = cast(FittedClasses, load_head(stored.head, device=clip_device(config.device)))
        network = adapted_clip_backbone(network, of_clips)
        vectors = extract_clip_features(network, items, clips, config, num_windows=told["windows"])
        return _class_value(stored, mean_of_logits(of_clips.probabilities(vectors), told["windows"]))
    if stored.settings["kind"] == "detection":
        seen = load_clip_backbone(model, config) if model.clip_network is not None else loaded_backbone(stored, model, config)
        return detection_value_again(stored.head, stored.predictions, stored.score.metric, data=data, backbone=seen, config=config)
    if model.clip_network is not None:
        return _context_value(stored, items, model, config)
    backbone = loaded_backbone(stored, model, config)
    head = load_head(stored.head, device=backbone.device)
    backbone = adapted_backbone(backbone, head)
    if stored.settings["kind"] == "segmentation":
        return _mask_value(stored, cast(FittedMasks, head), items, model, backbone, config)
    features = extract_features(backbone, items, batch_size=config.batch_size, num_workers=config.num_workers)
    return _class_value(stored, cast(FittedClasses, head).probabilities(features))


def _items(stored: StoredScore, data: Path) -> list[Item]:
    """The test items, whose files are all there."""
    items = [item_of(row, data) for row in stored.predictions.drop_columns(_dropped(stored)).to_pylist()]
    missing = [path for item in items for path in (item.path, item.mask) if path is not None and not os.path.isfile(path)]
    if missing:
        raise HeadError(f"{len(missing)} files of the test split are not below {str(data)!r}, such as {missing[0]!r}; give --data")
    return items


def _class_value(stored: StoredScore, probabilities: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    classes = stored.settings["classes"]
    labels = np.array([classes.index(label) for label in stored.predictions["label"].to_pylist()], np.int64)
    groups = numbered(stored.predictions["group"].to_pylist())
    if stored.score.metric not in CLASSIFICATION_METRICS:
        cut = BinaryCut(**{**told, "positive": tuple(told["positive"])}) if (told := stored.settings.get("cut")) else None
        return clinical_scores(labels, probabilities, groups, classes=classes, cut=cut)[stored.score.metric].value
    names = (stored.score.metric,)
    return class_scores(labels, probabilities, groups, names=names, num_bootstrap=1, seed=stored.score.seed)[stored.score.metric].value


def _mask_value(
    stored: StoredScore, head: FittedMasks, items: Sequence[Item], model: ModelRef, backbone: Backbone, config: EvaluateConfig
) -> float:
    wanted = maps_wanted(stored.settings["head"])
    assert wanted is not None, "a mask head reads maps"
    sized = resized_backbone(backbone, model, wanted.input_scale(config), seed=config.seed)
    shapes = (mask_pixels(item).shape for item in items)
    views = scoring_views(sized, model, items, wanted, config)
    masks = predicted_masks(head, views, ((height, width) for height, width in shapes), device=backbone.device)
    return _value_of_masks(stored, masks, items)


def _context_value(stored: StoredScore, items: Sequence[Item], model: ModelRef, config: EvaluateConfig) -> float:
    """Of a head on a video network, which sees each test image in the middle of its neighbours."""
    wanted = maps_wanted(stored.settings["head"])
    assert wanted is not None, "a mask head reads maps"
    device, network = clip_device(config.device), load_clip_backbone(model, config)
    head = cast(FittedMasks, load_head(stored.head, device=device))
    maps = np.concatenate(list(context_batches(network, items, num_frames_of(network, config), config, device)))
    tested: Maps = (maps,) * context_levels(wanted)
    shapes = (mask_pixels(item).shape for item in items)
    masks = predicted_masks(head, [([tested], False)], ((height, width) for height, width in shapes), device=device)
    return _value_of_masks(stored, masks, items)


def _value_of_masks(stored: StoredScore, masks: Iterable[npt.NDArray[np.bool_]], items: Sequence[Item]) -> float:
    """The score's number from the predicted mask of each test image."""
    metric = stored.score.metric
    values, predicted = image_scores(masks, items, clinical=metric in CLINICAL_MASK_METRICS)
    if metric in SEQUENCE_METRICS:
        return _sequence_value(stored, values, predicted, items)
    if metric not in values:
        raise HeadError(f"this version does not know the metric {metric} of masks, so it cannot be computed again")
    return float(values[metric].mean())


def _sequence_value(
    stored: StoredScore,
    values: Mapping[str, npt.NDArray[np.float64]],
    predicted: Sequence[npt.NDArray[np.bool_]],
    items: Sequence[Item],
) -> float:
    """A metric of sequences, of the values of frames or of their masks."""
    metric, groups = stored.score.metric, numbered(stored.predictions["group"].to_pylist())
    truth = [mask_pixels(item) for item in items] if metric == "endofm_volume_dice" else []
    drawn: dict[str, int] = {"num_bootstrap": 1, "seed": stored.score.seed}
    return sequence_scores(values, predicted, truth, groups, names=(metric,), **drawn)[metric].value


def stored_model(stored: StoredScore, clip_network: ClipNetworks | None) -> ModelRef:
    """The model of a score, whose weights are those that were scored.

    Args:
        stored: the score.
        clip_network: finds the video network of a folder, None for a folder of an image network.

    Raises:
        HeadError: it is not there, or its weights or its config.json are others.
    """
    told = stored.settings["backbone"]
    if not told["path"]:
        raise HeadError(f"{told['label']} is an encoder of a package, whose network cannot be built again from here")
    folder = stored.root / told["path"]  # an absolute path stays as it is
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise HeadError(f"the backbone {str(folder)!r} is gone; put it back, or evaluate another one")
    if told["sha256"] and file_sha256(weights) != told["sha256"]:
        raise HeadError(f"the weights of {str(folder)!r} are others than those that were scored; put the old ones back")
    network = clip_network(folder) if clip_network is not None else None
    named: dict[str, Any] = {"model_id": told["model_id"], "label": told["label"], "weights": told["weights"]}
    found = ModelRef(**named, path=str(folder), draw=told.get("draw", 0), clip_network=network)
    if told.get("config") and config_id(found) != told["config"]:
        raise HeadError(f"config.json of {str(folder)!r} is another than the one that was scored; put the old one back")
    return found


def loaded_backbone(stored: StoredScore, model: ModelRef, config: EvaluateConfig) -> Backbone:
    """The image backbone of a score, as it was scored.

    Raises:
        BackboneError: it is not usable.
    """
    told = stored.settings["backbone"]
    return load_backbone(model, device=config.device, image_size=told["image_size"], seed=stored.settings["seed"])


def stored_config(settings: dict[str, Any]) -> EvaluateConfig:
    """The settings of the evaluation, without those that this version does not know."""
    known = {field.name for field in fields(EvaluateConfig)}
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items() if name in known}
    return EvaluateConfig(**values)


def _dropped(stored: StoredScore) -> list[str]:
    return [name for name in ("probabilities", "predicted_mask") if name in stored.predictions.column_names]
