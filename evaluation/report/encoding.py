"""What each page of this room is made with: its templates, and pictures inside it."""

from __future__ import annotations

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["data_uri", "template_environment"]


def template_environment() -> Environment:
    """The room's templates, which escape every string; the caller adds its filters."""
    return Environment(
        loader=PackageLoader("evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def data_uri(jpeg: bytes) -> str:
    """An encoded JPEG as the address of an image."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
