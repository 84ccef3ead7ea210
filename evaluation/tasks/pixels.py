"""Decode an image file to upright 8-bit pixels, whatever its bit depth and orientation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from evaluation.tasks.items import TaskError

__all__ = ["eight_bit", "open_file", "orientation", "oriented_size", "upright"]

_ORIENTATION = 0x0112
_DEPTHS = (8, 10, 12, 14, 16)
_MOST_PIXELS = 178_956_970
"""of one image, Pillow's own limit; Pillow's setting is the process's, and other parts of it look at sizes themselves"""


@contextmanager
def open_file(path: str, what: str = "image", data: bytes | None = None) -> Iterator[Image.Image]:
    """An image file, or its bytes, opened; what Pillow raises inside becomes one sentence that names the file.

    Raises:
        TaskError: the file does not decode, or has more pixels than Pillow decodes.
    """
    try:
        with Image.open(path if data is None else BytesIO(data)) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise Image.DecompressionBombError
            yield image
    except Image.DecompressionBombError as error:
        raise TaskError(f"{what} {path!r} has more than {_MOST_PIXELS:,} pixels; make it smaller or remove it") from error
    except UnidentifiedImageError as error:
        raise TaskError(f"{what} {path!r} does not decode (no known image format); replace it or remove its row") from error
    except (OSError, SyntaxError) as error:  # Pillow raises either for a damaged file
        raise TaskError(f"{what} {path!r} does not decode ({error}); replace it or remove its row") from error


def orientation(image: Image.Image) -> int:
    """EXIF orientation from 1 (upright) to 8; TIFF files are turned as they are decoded, and are 1 then."""
    found = image.getexif().get(_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def oriented_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of the upright image, without decoding it."""
    return (image.height, image.width) if orientation(image) >= 5 else (image.width, image.height)


def upright(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it: turned by its EXIF orientation."""
    image.load()
    return ImageOps.exif_transpose(image) if orientation(image) != 1 else image


def eight_bit(image: Image.Image, path: str) -> Image.Image:
    """The image with 8 bits a channel; grey values of 16 bits and floats are scaled by their range.

    Whole numbers are scaled by the smallest of 8, 10, 12, 14 and 16 bits that holds the image's own maximum, so that 12 bits stored in
    16 are right. Floats up to 1 are scaled by 1, larger ones as whole numbers.

    Raises:
        TaskError: values are negative, not finite, or beyond 16 bits.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    return Image.fromarray(_scaled(values, path))


def _scaled(values: npt.NDArray[np.generic], path: str) -> npt.NDArray[np.uint8]:
    floats = values.astype(np.float32)
    low, high = float(floats.min()), float(floats.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0 or high > 65535:
        raise TaskError(f"image {path!r} has values from {low:g} to {high:g}; give 0 to 1, or whole numbers of 8 to 16 bits")
    is_share = values.dtype.kind == "f" and high <= 1
    full = 1 if is_share else next(2**depth - 1 for depth in _DEPTHS if high <= 2**depth - 1)
    return np.round(floats * (255 / full)).astype(np.uint8)
