"""Predicted boxes as a table, beside the true ones; every score is computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evaluation.detection.fcos import Detections
from evaluation.detection.found import native_corners
from evaluation.detection.metrics import Frame, operating_points
from evaluation.stored_evaluation import Places, item_columns, item_of
from evaluation.tasks import Item, TrueBox, open_file, oriented_size

__all__ = ["box_item", "box_table", "frames_of", "image_sizes"]

Ints = npt.NDArray[np.int64]

_BOXES = pa.list_(pa.list_(pa.float64(), 4))


def image_sizes(items: Sequence[Item]) -> Ints:
    """Width and height of each upright image in pixels, [N, 2].

    Raises:
        TaskError: one does not open.
    """
    sizes = []
    for item in items:
        with open_file(item.path) as image:
            sizes.append(oriented_size(image))
    return np.array(sizes, np.int64).reshape(-1, 2)


def box_table(
    items: Sequence[Item],
    places: Places,
    *,
    found: Sequence[Detections],
    sizes: Ints,
    image_size: int,
    classes: Sequence[str],
    threshold: float,
) -> pa.Table:
    """One row a test frame: where it is, its group, the true boxes, the predicted ones in its own pixels, and how well they agree.

    Args:
        items: frames with boxes.
        places: of the evaluation.
        found: on the square image that the backbone sees.
        sizes: [N, 2] width and height of the frames.
        image_size: side of the square image.
        classes: names, in class-index order.
        threshold: score from which on predictions count in `frame_f1`, which is 1 where neither truth nor prediction has a box.
    """
    columns = item_columns(items, places.data)
    columns["width"], columns["height"] = pa.array(sizes[:, 0]), pa.array(sizes[:, 1])
    columns["boxes"] = pa.array([[list(box.corners) for box in item.boxes or ()] for item in items], _BOXES)
    columns["box_labels"] = pa.array([[box.label for box in item.boxes or ()] for item in items], pa.list_(pa.string()))
    columns["lesions"] = pa.array([[box.lesion for box in item.boxes or ()] for item in items], pa.list_(pa.string()))
    predicted = [native_corners(one, size, image_size=image_size).tolist() for one, size in zip(found, sizes, strict=True)]
    columns["predicted_boxes"] = pa.array(predicted, _BOXES)
    columns["predicted_labels"] = pa.array([[classes[i] for i in one.labels.tolist()] for one in found], pa.list_(pa.string()))
    columns["predicted_scores"] = pa.array([one.scores.cpu().double().tolist() for one in found], pa.list_(pa.float64()))
    table = pa.table(columns)
    (point,) = operating_points(frames_of(table, classes), (threshold,))
    total = 2 * point.true_positives + point.false_positives + point.missed
    agreement = np.divide(2 * point.true_positives, total, out=np.ones(len(items)), where=total > 0)
    return table.append_column("frame_f1", pa.array(agreement))


def frames_of(table: pa.Table, classes: Sequence[str]) -> list[Frame]:
    """The frames of stored predictions, as the metrics take them."""
    index = {name: number for number, name in enumerate(classes)}
    names = ["boxes", "box_labels", "lesions", "predicted_boxes", "predicted_labels", "predicted_scores"]
    return [
        Frame(
            truth=np.array(row["boxes"], np.float64).reshape(-1, 4),
            truth_labels=np.array([index[name] for name in row["box_labels"]], np.int64),
            boxes=np.array(row["predicted_boxes"], np.float64).reshape(-1, 4),
            labels=np.array([index[name] for name in row["predicted_labels"]], np.int64),
            scores=np.array(row["predicted_scores"], np.float64),
            lesions=tuple(row["lesions"]),
        )
        for row in table.select(names).to_pylist()
    ]


def box_item(row: Mapping[str, Any], data: Path) -> Item:
    """The test frame of a row of predictions with its true boxes, its file below `data`."""
    parts = zip(row["boxes"], row["box_labels"], row["lesions"], strict=True)
    boxes = tuple(TrueBox(corners=(x1, y1, x2, y2), label=label, lesion=lesion) for (x1, y1, x2, y2), label, lesion in parts)
    return replace(item_of(row, data), boxes=boxes)
