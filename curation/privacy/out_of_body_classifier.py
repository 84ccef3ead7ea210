"""A classifier on embeddings for what is outside the body, learned from a person's labelled images.

The colours that ingest judges by cannot tell skin or a red drape from tissue; an encoder's vectors can, where somebody shows examples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from curation.embedding import EmbedConfig, batch_size_on, decode_image, embed_images, load_encoder, read_part
from curation.privacy.config import OutOfBodyConfig
from curation.privacy.out_of_body import smooth_scores
from warehouse.records import EmbeddingPart
from warehouse.store import content_id, file_sha256, write_parquet

__all__ = ["HEAD_VERSION", "Head", "LabelledImages", "fit_head", "frames_outside", "read_labels", "score_part"]

HEAD_VERSION = 2
"""raise when the same labels and embeddings would give other removals"""

CLASSES = ("inside", "outside")
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
_LEAST_IMAGES = 10
_REGULARIZATION = 10.0
"""inverse L2 strength, C; on phantom video 1 to 100 were alike"""
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """The images of a label folder, as an encoder sees them."""

    labels_id: str
    """SHA-256 over the images' content, classes and groups"""
    vectors: NDArray[np.float32]
    """(n, dim), of unit length"""
    is_outside: NDArray[np.bool_]
    """(n,)"""
    groups: tuple[str, ...]
    """per image: its subfolder, or the image itself where it lies in none"""
    unreadable: tuple[str, ...]
    """files that are no images, left out"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A logistic regression: the score of a vector is sigmoid(vector @ weights + bias)."""

    weights: NDArray[np.float64]
    """(dim,)"""
    bias: float
    threshold: float
    """score (0-1) from which a frame is outside"""
    auc: float
    """area under the ROC curve, cross-validated"""
    sensitivity: float
    """share of images outside that reach the threshold, cross-validated"""
    false_alarms: float
    """share of images inside that reach it too, cross-validated"""


def read_labels(folder: Path, config: EmbedConfig) -> LabelledImages:
    """Embed the images below `folder`/inside and `folder`/outside.

    Raises:
        ValueError: one of them is missing or has too few images to learn from.
    """
    encoder = load_encoder(config)
    images: list[bytes] = []
    rows: list[tuple[str, str, str]] = []
    unreadable: list[str] = []
    for name in CLASSES:
        paths = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
        for path in paths:
            content = path.read_bytes()
            try:
                decode_image(content, encoder.preprocessing)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises at hostile bytes
                unreadable.append(str(path))
                continue
            inner = path.relative_to(folder / name).parent
            images.append(content)
            rows.append((name, inner.as_posix() if inner.parts else f"{name}/{path.name}", file_sha256(path)))
        num_images = sum(row[0] == name for row in rows)
        if num_images < _LEAST_IMAGES:
            raise ValueError(
                f"{folder / name} holds {num_images} readable images, expected {_LEAST_IMAGES} or more, better some hundred; "
                f"put images from {name} the body there, as frames of the lake look"
            )
    vectors = embed_images(iter(images), encoder, batch_size=batch_size_on(encoder.device, config))
    return LabelledImages(
        labels_id=content_id(rows),
        vectors=vectors.astype(np.float32),
        is_outside=np.array([name == "outside" for name, _, _ in rows]),
        groups=tuple(group for _, group, _ in rows),
        unreadable=tuple(unreadable),
    )


def fit_head(images: LabelledImages, config: OutOfBodyConfig) -> Head:
    """Fit on all images; the threshold comes from scores that each image got from a fit without its fold.

    Raises:
        ValueError: the images of a class lie in a single subfolder, so that none is left to test on.
    """
    least_groups = min(
        len({group for group, is_it in zip(images.groups, images.is_outside, strict=True) if is_it == side}) for side in (0, 1)
    )
    if least_groups < 2:
        raise ValueError(
            "all images of a class lie in one subfolder, expected 2 or more: a subfolder stands for a procedure, and none can be spared"
        )
    # unit vectors as they are: features scaled to equal variance let the few that vary by chance decide where labels are few
    model = LogisticRegression(C=_REGULARIZATION, class_weight="balanced", max_iter=2000)
    folds = StratifiedGroupKFold(min(config.folds, least_groups))
    scores = np.full(len(images.is_outside), np.nan)
    for train, test in folds.split(images.vectors, images.is_outside, images.groups):
        model.fit(images.vectors[train], images.is_outside[train])
        scores[test] = model.predict_proba(images.vectors[test])[:, 1]
    outside = np.sort(scores[images.is_outside])
    # as many of the images outside as may be missed lie below the threshold, no more
    threshold = float(outside[int(np.floor((1 - config.sensitivity) * len(outside) + 1e-9))])
    model.fit(images.vectors, images.is_outside)
    return Head(
        weights=model.coef_[0],
        bias=float(model.intercept_[0]),
        threshold=threshold,
        auc=float(roc_auc_score(images.is_outside, scores)),
        sensitivity=float(np.mean(outside >= threshold)),
        false_alarms=float(np.mean(scores[~images.is_outside] >= threshold)),
    )


def score_part(part: EmbeddingPart, *, lake_root: str, head: Head, folder: str) -> str:
    """Score every frame of an embedding part, 0 (inside) to 1 (outside); writes `folder`/<part_id>.parquet and returns its path."""
    frame_ids, vectors = read_part(Path(lake_root) / part.path, part.dim)
    scores = 1 / (1 + np.exp(-(vectors.astype(np.float64) @ head.weights + head.bias)))
    out = Path(folder) / f"{part.part_id}.parquet"
    write_parquet(out, pa.table({"frame_id": pa.array(frame_ids, pa.string()), "score": pa.array(scores, pa.float64())}))
    return str(out)


def frames_outside(scored: Path, *, threshold: float, window: int) -> Iterator[tuple[str, float]]:
    """The frames whose smoothed score reaches the threshold, a video at a time.

    Args:
        scored: Parquet with video_id, frame_id and score, ordered by video and time.
        threshold: of the smoothed score.
        window: frames that smoothing looks at, an odd number; see `smooth_scores`.

    Yields:
        frame id and smoothed score.
    """
    batches = pq.ParquetFile(scored).iter_batches(_ROWS_AT_ONCE, columns=["video_id", "frame_id", "score"])
    rows = itertools.chain.from_iterable(zip(*(column.to_pylist() for column in batch.columns), strict=True) for batch in batches)
    for _, frames in itertools.groupby(rows, key=lambda row: row[0]):
        _, frame_ids, scores = zip(*frames, strict=True)
        for frame_id, score in zip(frame_ids, smooth_scores(scores, window), strict=True):
            if score >= threshold:
                yield frame_id, float(score)
