"""Generated trees in the layouts that PolypsSet is published and prepared in: bright polyps on a dark noisy ground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["CLASSES", "Box", "annotation", "frame", "polyps_set"]

CLASSES = {"adenomatous": (230, 90, 60), "hyperplastic": (90, 220, 90)}

Box = tuple[str, int, int, int, int]
"""name, xmin, ymin, xmax, ymax as VOC counts them, from 1"""


def annotation(path: Path, boxes: Sequence[Box], *, extra: str = "", size: tuple[int, int] = (96, 80)) -> Path:
    """A VOC file."""
    objects = "".join(
        f"<object><name>{name}</name>{extra}<pose>Unspecified</pose><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2 in boxes
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{objects}</annotation>")
    return path


def frame(path: Path, boxes: Sequence[Box], *, seed: int, size: tuple[int, int] = (96, 80)) -> Path:
    """A JPEG that shows the boxes, each filled with its class's colour."""
    pixels = np.random.default_rng(seed).normal(50, 12, (size[1], size[0], 3))
    for name, x1, y1, x2, y2 in boxes:
        pixels[y1 - 1 : y2, x1 - 1 : x2] += CLASSES.get(name, (200, 200, 200))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, format="JPEG", quality=92)
    return path


def polyps_set(root: Path, *, videos: int = 6, frames: int = 6) -> Path:
    """The source tree; every third frame shows nothing, and names sort as 1, 10, 11, 2 by text."""
    for part, split in enumerate(("train2019", "val2019", "test2019")):
        for video in range(1, videos + 1):
            rng = np.random.default_rng([part, video])
            name = list(CLASSES)[video % 2]
            for number in range(9, 9 + frames):
                x, y, width, height = (int(rng.integers(low, high)) for low, high in ((4, 40), (4, 30), (24, 50), (24, 46)))
                boxes: list[Box] = [(name, x, y, x + width, y + height)] if number % 3 else []
                folder = root / "PolypsSet" / split
                frame(folder / "Image" / f"{video}" / f"{number}.jpg", boxes, seed=1000 * part + 100 * video + number)
                annotation(folder / "Annotation" / f"{video}" / f"{number}.xml", boxes)
    return root
