"""Pictures of a test split beside what was predicted: the best, median and worst masks, and the surest mistakes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, ImageDraw

from evaluation.detection import box_item
from evaluation.images import item_image, mask_pixels
from evaluation.report.report import ContactSheet, Picture
from evaluation.stored_evaluation import item_of
from evaluation.tasks import TaskError

__all__ = ["box_sheets", "mask_sheets", "mistakes"]

_SIDE = 224
_TRUE, _PREDICTED = (60, 220, 90), (255, 140, 30)
"""green and orange, told apart by most people who see few colours"""

Pixels = npt.NDArray[np.uint8]


def mask_sheets(table: pa.Table, data: Path, *, each: int = 6) -> tuple[ContactSheet, ...]:
    """Overlays with the outline of the true mask (green) and of the predicted one (orange).

    Args:
        table: stored predictions of a mask head.
        data: folder of the evaluation set.
        each: pictures of the best, the middle and the worst.
    """
    order = np.argsort(table["dice"].to_numpy(), kind="stable")
    middle = max(0, (len(order) - each) // 2)
    parts = {"worst": order[:each], "median": order[middle : middle + each], "best": order[::-1][:each]}
    return tuple(
        ContactSheet(title=title, num_frames=len(order), pictures=_pictures(table, rows, data, _overlay)) for title, rows in parts.items()
    )


def box_sheets(table: pa.Table, data: Path, *, threshold: float, each: int = 6) -> tuple[ContactSheet, ...]:
    """Overlays of true boxes (green) and of predicted ones that count (orange): the frames that do worst and best.

    Args:
        table: stored predictions of a head that gives boxes.
        data: folder of the evaluation set.
        threshold: score from which on a prediction counts.
        each: pictures of the worst and of the best; of equals those whose surest prediction is surest.
    """
    surest = np.array([max(scores, default=0.0) for scores in table["predicted_scores"].to_pylist()])
    values = table["frame_f1"].to_numpy()
    parts = {"worst": np.lexsort((-surest, values)), "best": np.lexsort((-surest, -values))}

    def draw(row: Mapping[str, Any], below: Path) -> tuple[Image.Image, str]:
        return _boxed(row, below, threshold)

    return tuple(
        ContactSheet(title=title, num_frames=len(values), pictures=_pictures(table, order[:each], data, draw))
        for title, order in parts.items()
    )


def mistakes(table: pa.Table, data: Path, *, most: int = 18) -> ContactSheet:
    """The images whose wrong class was the most probable, the surest first.

    Args:
        table: stored predictions of a head for classes.
        data: folder of the evaluation set.
        most: pictures shown.
    """
    wrong = [i for i, (a, b) in enumerate(zip(table["label"].to_pylist(), table["prediction"].to_pylist(), strict=True)) if a != b]
    sure = {i: max(table["probabilities"][i].as_py()) for i in wrong}
    rows = sorted(wrong, key=lambda i: -sure[i])[:most]
    return ContactSheet(title="surest mistakes", num_frames=len(wrong), pictures=_pictures(table, rows, data, _labelled))


def _pictures(table: pa.Table, rows: Sequence[int] | npt.NDArray[np.int64], data: Path, draw: Any) -> tuple[Picture, ...]:
    pictures = []
    for i in rows:
        row = table.slice(int(i), 1).to_pylist()[0]
        try:
            image, caption = draw(row, data)
        except TaskError:  # moved or damaged since; the numbers stay
            continue
        with io.BytesIO() as file:
            image.save(file, format="JPEG", quality=80)
            pictures.append(Picture(jpeg=file.getvalue(), caption=caption))
    return tuple(pictures)


def _labelled(row: Mapping[str, Any], data: Path) -> tuple[Image.Image, str]:
    image = Image.fromarray(item_image(item_of(row, data), size=_SIDE))
    return image, f"{row['label']}, taken for {row['prediction']} ({max(row['probabilities']):.2f})"


def _overlay(row: Mapping[str, Any], data: Path) -> tuple[Image.Image, str]:
    item = item_of(row, data)
    image = Image.fromarray(item_image(item, size=_SIDE))
    with Image.open(io.BytesIO(row["predicted_mask"])) as file:
        predicted = np.asarray(file.convert("1"))
    for mask, colour in ((mask_pixels(item), _TRUE), (predicted, _PREDICTED)):
        _outline(image, mask, colour)
    return image, f"Dice {row['dice']:.3f}"


def _boxed(row: Mapping[str, Any], data: Path, threshold: float) -> tuple[Image.Image, str]:
    image = Image.fromarray(item_image(box_item(row, data), size=_SIDE))
    drawing = ImageDraw.Draw(image)
    scale = np.array([_SIDE / row["width"], _SIDE / row["height"]] * 2)
    told = zip(*(row[f"predicted_{part}"] for part in ("boxes", "labels", "scores")), strict=True)
    shown = [(box, name, score) for box, name, score in told if score >= threshold]
    for boxes, colour in ((row["boxes"], _TRUE), ([box for box, _, _ in shown], _PREDICTED)):
        for box in boxes:
            drawing.rectangle(tuple((np.array(box) * scale).tolist()), outline=colour, width=2)
    said = ", ".join(f"{name} {score:.2f}" for _, name, score in shown[:2]) or "nothing predicted"
    return image, f"F1 {row['frame_f1']:.2f}: {said}"


def _outline(image: Image.Image, mask: npt.NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
    small = np.asarray(Image.fromarray(mask).resize(image.size, Image.Resampling.NEAREST))
    padded = np.pad(small, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge = small & ~inside
    drawing = ImageDraw.Draw(image)
    for y, x in np.argwhere(edge):
        drawing.rectangle((int(x), int(y), int(x) + 1, int(y) + 1), fill=colour)
