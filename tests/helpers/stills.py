"""Drawn still images."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from tests.helpers.films import octagon, tissue


def still(seed: int, *, width: int = 256, height: int = 192) -> Image.Image:
    rgb = (tissue(seed).clip(0, 255) * octagon()[..., None]).astype(np.uint8)
    return Image.fromarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC))
