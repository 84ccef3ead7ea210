"""Quick downstream scores of an exported backbone while it is still being trained; the test split is never read."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from evaluation.backbone import ModelRef, features_of, load_backbone
from evaluation.config import EvaluateConfig
from evaluation.features import extract_features
from evaluation.images import jpeg_image, stream
from evaluation.knn import choose_k, knn_predict
from evaluation.run import class_indices
from evaluation.tasks import TaskError, resolve_task

__all__ = ["knn_score", "retrieval_accuracy", "retrieval_score"]


def knn_score(
    exported_folder: str,
    *,
    data: str,
    task: str,
    k: int = 10,
    config: EvaluateConfig | None = None,
) -> tuple[str, float]:
    """k-NN score of the validation split against the training split; a callback for choosing checkpoints.

    Args:
        exported_folder: config.json and model.safetensors.
        data: folder of the evaluation data.
        task: a known task name, or auto.
        k: neighbours; one number, because choosing it here too would flatter the checkpoint.
        config: image and batch size, workers, device, and the seed of a validation split that the data does not name.

    Returns:
        The metric's name, such as landmarks/val/knn_balanced_accuracy, and its value.

    Raises:
        TaskError: the data is not usable, or is a segmentation set, which has no k-NN score.
        BackboneError: the folder is not a usable backbone.
    """
    config = config or EvaluateConfig()
    found = resolve_task(task, Path(data), seed=config.seed)
    if found.kind == "segmentation":
        raise TaskError(f"task {found.name} is a segmentation set; validate on one with classes, such as landmarks")
    found.validate()
    seen = replace(found, items=tuple(item for item in found.items if item.split != "test"))
    backbone = load_backbone(ModelRef(model_id="", label="", path=exported_folder), device=config.device, image_size=config.image_size)
    features = torch.from_numpy(
        extract_features(backbone, seen.items, batch_size=config.batch_size, num_workers=config.num_workers)["last"]
    )
    labels = class_indices(seen.items, seen.classes)
    train = np.array([item.split == "train" for item in seen.items])
    metric = found.protocol.primary
    predictions = knn_predict(features[train], torch.from_numpy(labels[train]), features[~train], k=(k,), num_classes=len(seen.classes))
    _, value = choose_k(predictions, labels[~train], k=(k,), num_classes=len(seen.classes), metric=metric)
    return f"{found.name}/val/knn_{metric}", value


def retrieval_score(
    exported_folder: str,
    *,
    samples: str,
    exclude_s: float = 5.0,
    k: int = 5,
    max_images: int = 1000,
    config: EvaluateConfig | None = None,
) -> tuple[str, float]:
    """How often a frame's nearest neighbours come from its own video; needs no labels.

    Args:
        exported_folder: config.json and model.safetensors.
        samples: a dataset's samples.parquet, beside its shards.
        exclude_s: frames of the same video nearer than this in seconds are not neighbours: they are almost the same picture.
        k: neighbours that vote.
        max_images: frames taken by chance from larger datasets.
        config: image and batch size, workers, device, and the seed of that choice.

    Returns:
        The metric's name and its value in [0, 1], every video counting alike.

    Raises:
        TaskError: no video has two frames that far apart.
        BackboneError: the folder is not a usable backbone.
    """
    config = config or EvaluateConfig()
    table = pq.read_table(samples, columns=["shard", "frame_id", "video_id", "byte_offset", "byte_size"])
    chosen = np.sort(np.random.default_rng(config.seed).permutation(len(table))[:max_images])
    rows = table.take(chosen).to_pylist()
    folder = Path(samples).parent

    def read(row: dict[str, object]) -> npt.NDArray[np.uint8]:
        with (folder / str(row["shard"])).open("rb") as file:
            file.seek(int(str(row["byte_offset"])))
            data = file.read(int(str(row["byte_size"])))
        return jpeg_image(data, size=backbone.image_size, interpolation=backbone.interpolation)

    backbone = load_backbone(ModelRef(model_id="", label="", path=exported_folder), device=config.device, image_size=config.image_size)
    batches = stream(read, rows, batch_size=config.batch_size or backbone.batch_size, num_workers=config.num_workers)
    features = torch.from_numpy(np.concatenate([features_of(backbone, pixels)["last"] for pixels in batches]))
    names: dict[str, int] = {}
    videos = torch.tensor([names.setdefault(str(row["video_id"]), len(names)) for row in rows])
    times_s = torch.tensor([int(str(row["frame_id"]).rsplit("-", 1)[1]) / 1e6 for row in rows], dtype=torch.float64)
    value = retrieval_accuracy(features, videos, times_s, k=k, exclude_s=exclude_s)
    if math.isnan(value):
        raise TaskError(f"no video of {samples} has two frames {exclude_s} s apart; lower exclude_s or take longer videos")
    return "retrieval/val/same_video_knn_accuracy", value


@torch.inference_mode()
def retrieval_accuracy(features: torch.Tensor, videos: torch.Tensor, times_s: torch.Tensor, *, k: int, exclude_s: float) -> float:
    """Leave-one-out k-NN accuracy of the source video, averaged per video, then over videos.

    Args:
        features: [N, D].
        videos: [N] video indices.
        times_s: [N] seconds within the video.
        k: neighbours that vote by their cosine similarity.
        exclude_s: frames of the same video at most this far away, the frame itself among them, are not neighbours.

    Returns:
        A value in [0, 1]; not a number where no frame has a neighbour of its own video left.
    """
    normalized = F.normalize(features.float(), dim=1)
    similarity = normalized @ normalized.T
    same = videos[:, None] == videos[None, :]
    close = same & ((times_s[:, None] - times_s[None, :]).abs() <= exclude_s)
    similarity = similarity.masked_fill(close, -2.0)
    eligible = (same & ~close).any(1)
    top, index = similarity.topk(min(k, len(features)), dim=1)
    votes = torch.zeros(len(features), int(videos.max()) + 1)
    votes.scatter_add_(1, videos[index], (top + 1).clamp(min=0))
    hits: dict[int, list[bool]] = defaultdict(list)
    for video, hit in zip(videos[eligible].tolist(), (votes.argmax(1) == videos)[eligible].tolist(), strict=True):
        hits[video].append(hit)
    return float(np.mean([np.mean(found) for found in hits.values()])) if hits else math.nan
