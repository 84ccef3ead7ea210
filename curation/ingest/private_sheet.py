"""The page on which a person looks at private pictures: one file with mode 0600, beside each picture what the lake would use instead."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from curation.ingest.scan import painted
from curation.privacy import Box, sheet_page
from warehouse.store import atomic_file

__all__ = ["PRIVATE_AUDIT_VERSION", "PrivatePicture", "render_private_sheet"]

PRIVATE_AUDIT_VERSION = 1
"""raise when the same pictures would give another page"""

_QUALITY = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivatePicture:
    """One private picture, numbered by its place on the sheet."""

    video_id: str
    second: float
    """presentation time"""
    why: str
    """out_of_body, text or mask"""
    boxes: tuple[Box, ...]
    """in pixels: unconfirmed boxes, which are not painted in the JPEG"""
    jpeg: bytes


def render_private_sheet(audit_id: str, pictures: tuple[PrivatePicture, ...], path: Path) -> None:
    """Write the sheet to `path`, atomically and with mode 0600; it names videos by their content hash alone."""
    page = sheet_page(
        "curation.ingest",
        "private.html.j2",
        audit_id=audit_id,
        pictures=[
            {
                "video": picture.video_id[:16],
                "second": f"{picture.second:.1f}",
                "why": picture.why,
                "masked": _encoded(painted(picture.jpeg, picture.boxes, _QUALITY)) if picture.boxes else None,
                "bare": _encoded(picture.jpeg),
            }
            for picture in pictures
        ],
    )
    with atomic_file(path, is_private=True) as file:
        file.write(page.encode())


def _encoded(jpeg: bytes) -> str:
    return base64.b64encode(jpeg).decode("ascii")
