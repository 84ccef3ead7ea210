"""Where an evaluation keeps its heads and predictions, and what stands in them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from evaluation.backbone import ModelRef, config_id
from evaluation.config import EvaluateConfig
from evaluation.heads import Storable, save_head
from evaluation.metrics import Interval
from evaluation.tasks import SUBGROUPS, Fingerprint, Item, MaskEncoding, TaskData
from warehouse.store import canonical_json, content_id, file_sha256, write_parquet

__all__ = [
    "Places",
    "Rows",
    "base_folder",
    "class_table",
    "head_settings",
    "item_columns",
    "item_of",
    "mask_image",
    "mask_table",
    "places_of",
    "store",
]

Rows = list[tuple[str, str, Interval, dict[str, str]]]
"""Head, metric, value with its interval, and details of each score."""

FOLDER = "evaluations"

FORMAT = 1
"""raise when heads or predictions of the same settings would be others"""

_NOT_IDENTITY = (
    "num_workers",
    "device",
    "batch_size",
    "heads",
    "num_bootstrap",
    "clinical",
    "few_shot",
    "few_shot_counts",
    "few_shot_shares",
    "few_shot_draws",
    "random_draws",
)
"""settings that change no head"""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one evaluation of one model."""

    cache: Path
    """features, token maps and finished scores"""
    root: Path
    """what `folder` is relative to: the lake"""
    folder: str
    """of heads and predictions"""
    data: Path
    """what paths of items are relative to"""
    images_id: str
    """of the images alone, whose features all folds of a set share"""


def head_settings(config: EvaluateConfig, task: TaskData) -> dict[str, Any]:
    """The settings by which two heads of one name, backbone and data may differ."""
    return {name: value for name, value in config.identity(has_clips=task.has_clips).items() if name not in _NOT_IDENTITY}


def places_of(
    model: ModelRef, task: TaskData, identity: Fingerprint, config: EvaluateConfig, *, cache: Path, root: Path | None, data: Path | None
) -> Places:
    """The folders; heads of equal weights, data and settings have one.

    Args:
        model: the backbone.
        task: the evaluation set.
        identity: of its files, labels and splits.
        config: of the evaluation.
        cache: for features and scores.
        root: the lake; `cache` unless given.
        data: folder of the evaluation set; the deepest one that holds all its files unless given.
    """
    settings = head_settings(config, task)
    network = [model.model_id, config_id(model), model.weights]
    key = content_id([FORMAT, *network, task.name, task.kind, identity.data_id, asdict(task.protocol), settings])
    return Places(cache, root or cache, f"{FOLDER}/{key[:32]}", base_folder(task, data), identity.images_id)


def base_folder(task: TaskData, data: Path | None) -> Path:
    """What paths of a task's items are relative to: the folder of `data`, or the deepest one that holds all its files."""
    if data is not None:
        return data if data.is_dir() else data.parent  # of a CSV its folder
    paths = [path for item in task.items for path in (item.path, item.mask) if path is not None]
    return Path(os.path.commonpath([os.path.dirname(path) for path in paths]))


def store(
    places: Places,
    name: str,
    head: Storable,
    table: pa.Table,
    *,
    model: ModelRef,
    task: TaskData,
    data_id: str,
    image_size: int,
    config: EvaluateConfig,
    clips: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Write a head and its predictions; their paths below the root, for the score's details.

    Of a head of clips, `clips` says how a clip is read: frames, windows, pooling and the usual length in seconds.
    """
    predictions, tensors = f"{places.folder}/{name}.parquet", f"{places.folder}/{name}.safetensors"
    weights = Path(model.path, "model.safetensors")
    facts: dict[str, Any] = {
        "task": task.name,
        "kind": task.kind,
        "classes": list(task.classes),
        "cut": asdict(task.cut) if task.cut else None,
        "primary": task.protocol.primary,
        "data": str(places.data),
        "data_id": data_id,
        "predictions": predictions,
        "seed": config.seed,
        "settings": {key: value for key, value in asdict(config).items() if key != "device"},
        **({"clips": dict(clips)} if clips else {}),
        "backbone": {
            "model_id": model.model_id,
            "label": model.label,
            "path": _below(Path(model.path), places.root) if model.path else "",
            "weights": model.weights,
            "draw": model.draw,
            "sha256": file_sha256(weights) if model.path and weights.is_file() else "",
            "config": config_id(model),
            "image_size": image_size,
        },
    }
    known = {key: facts[key] for key in ("task", "kind", "classes", "data_id")}
    described = table.replace_schema_metadata({"endoforge": canonical_json({"head": name, **known})})
    write_parquet(places.root / predictions, described)
    save_head(places.root / tensors, name, head, facts)
    return {"head_file": tensors, "predictions_file": predictions}


def class_table(items: Sequence[Item], data: Path, *, classes: Sequence[str], probabilities: npt.NDArray[np.float32]) -> pa.Table:
    """One row a test item: where it is, its group, its class, the class that was predicted, and the probability of each."""
    columns = item_columns(items, data)
    columns["label"] = pa.array([str(item.label) for item in items])
    columns["prediction"] = pa.array([classes[index] for index in probabilities.argmax(1)], pa.string())
    columns["probabilities"] = pa.array(list(probabilities), pa.list_(pa.float32(), len(classes)))
    return pa.table(columns)


def mask_table(items: Sequence[Item], data: Path, *, values: Mapping[str, npt.NDArray[np.float64]], predicted: Sequence[bytes]) -> pa.Table:
    """One row a test item: where it is, its group, its value of each metric, and the predicted mask as a PNG of one bit."""
    columns = item_columns(items, data)
    columns |= {name: pa.array(found) for name, found in values.items()}
    columns["predicted_mask"] = pa.array(list(predicted), pa.binary())
    return pa.table(columns)


def mask_image(mask: npt.NDArray[np.bool_]) -> bytes:
    """A mask as a PNG of one bit a pixel."""
    with io.BytesIO() as file:
        Image.fromarray(mask).save(file, format="PNG")
        return file.getvalue()


def item_of(row: Mapping[str, Any], data: Path) -> Item:
    """The test item of a row of predictions, its files below `data`."""
    return Item(
        path=os.path.normpath(data / row["path"]),
        split="test",
        group=row["group"],
        label=row.get("label"),
        mask=os.path.normpath(data / row["mask"]) if row["mask"] is not None else None,
        mask_encoding=MaskEncoding(**json.loads(row["mask_encoding"])) if row["mask_encoding"] is not None else None,
        box=tuple(row["box"]) if row["box"] is not None else None,
        span=tuple(row["span"]) if row.get("span") is not None else None,
    )


def item_columns(items: Sequence[Item], data: Path) -> dict[str, pa.Array]:
    """Where each item is and what its group is: the columns that all tables of predictions have."""
    return {
        "path": pa.array([os.path.relpath(item.path, data) for item in items]),
        "mask": pa.array([os.path.relpath(item.mask, data) if item.mask is not None else None for item in items], pa.string()),
        "mask_encoding": pa.array([canonical_json(asdict(code)) if (code := item.mask_encoding) else None for item in items], pa.string()),
        "box": pa.array([list(item.box) if item.box is not None else None for item in items], pa.list_(pa.int32())),
        **({"span": pa.array([item.span for item in items], pa.list_(pa.float64()))} if any(item.span for item in items) else {}),
        # a group that is a path would tie the table to a place on disk
        "group": pa.array([os.path.relpath(item.group, data) if os.path.isabs(item.group) else item.group for item in items]),
        **{name: pa.array([getattr(item, name) for item in items]) for name in SUBGROUPS if any(getattr(item, name) for item in items)},
    }


def _below(path: Path, root: Path) -> str:
    path, root = path.absolute(), root.absolute()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
