"""Small pictures for people to look at."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["thumbnail"]


def thumbnail(jpeg: bytes, *, width: int) -> bytes:
    """The same picture as a JPEG of at most `width` pixels.

    Raises:
        ValueError: the bytes are no image.
    """
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{len(jpeg)} bytes were given as a JPEG and do not decode as one; check the frame pack they come from")
    scale = min(1.0, width / image.shape[1])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    encoded, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    if not encoded:
        raise RuntimeError("OpenCV could not encode a thumbnail; reinstall opencv-python-headless with `make install`")
    return bytes(data)
