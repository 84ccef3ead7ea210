"""The page that shows chosen frames at a glance: one file, its pictures inside, no path and no name on it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from curation.labelling.chosen import ChosenFrame
from warehouse.store import atomic_file

__all__ = ["ContactSheet", "render_contact_sheet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactSheet:
    """What the page shows."""

    num_candidates: int
    """frames that could have been chosen"""
    num_labelled: int
    """frames that have a label already"""
    classes: tuple[str, ...]
    frames: tuple[ChosenFrame, ...]
    thumbnails: tuple[bytes, ...]
    """JPEG of each frame"""


def render_contact_sheet(sheet: ContactSheet, path: Path) -> None:
    """Write the page to `path`, atomically; the same sheet always has the same bytes."""
    environment = Environment(
        loader=PackageLoader("curation.labelling", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["jpeg"] = lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
    videos = _numbers([frame.video_id for frame in sheet.frames])
    groups = _numbers([frame.group for frame in sheet.frames])
    reasons = {reason: sum(frame.reason == reason for frame in sheet.frames) for reason in dict.fromkeys(f.reason for f in sheet.frames)}
    cells = [
        {"frame": frame, "thumbnail": thumbnail, "video": videos[frame.video_id]}
        for frame, thumbnail in zip(sheet.frames, sheet.thumbnails, strict=True)
    ]
    page = environment.get_template("contact_sheet.html.j2").render(
        sheet=sheet, cells=cells, num_videos=len(videos), num_groups=len(groups), reasons=reasons
    )
    with atomic_file(path) as file:
        file.write(page.encode())


def _numbers(ids: Sequence[str]) -> dict[str, int]:
    """A number for each id, 1 first, in the order in which they come."""
    return {found: number for number, found in enumerate(dict.fromkeys(ids), start=1)}
