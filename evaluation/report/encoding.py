"""Pictures inside a page."""

from __future__ import annotations

import base64

__all__ = ["data_uri"]


def data_uri(jpeg: bytes) -> str:
    """An encoded JPEG as the address of an image."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
