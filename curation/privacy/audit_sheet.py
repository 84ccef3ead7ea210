"""The page on which a person looks for identifying frames: one file, its pictures inside, no path and no name on it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from scipy.stats import binomtest

from warehouse.store import atomic_file

__all__ = ["AUDIT_VERSION", "AuditSheet", "SheetPicture", "render_sheet", "sheet_page", "upper_bound"]

AUDIT_VERSION = 1
"""raise when the same frames and settings would give another sample or another page"""

CONFIDENCE = 0.95
_EXAMPLES = (0, 1, 2, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetPicture:
    """One frame of the sample, or one clip, numbered by its place in it."""

    frame_id: str
    """or the id of the clip"""
    jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSheet:
    """What a sheet shows."""

    audit_id: str
    scope: str
    """what the sample was drawn from, in words: all candidates, or the name of a dataset"""
    num_frames_in_scope: int
    """frames that could have been drawn"""
    seed: int
    num_random: int
    """of the pictures, those drawn at random; the others are the most doubtful"""
    pictures: tuple[SheetPicture, ...]
    item: str = "frames"
    """what is shown: frames, or clips by 25 frames each"""


def upper_bound(num_found: int, num_frames: int) -> float:
    """The share of identifying frames that is not exceeded with 95% confidence, from those found among frames drawn at random.

    Clopper and Pearson's exact one-sided bound (Biometrika 26, 1934). Drawing from the videos in turn makes it no less safe: a sum of
    trials whose chances differ varies less than a binomial one of the same mean (Hoeffding, Ann. Math. Stat. 27, 1956).

    Raises:
        ValueError: more were found than there are frames.
    """
    if not 0 <= num_found <= num_frames:
        raise ValueError(f"got {num_found} found frames of {num_frames}, expected 0 to {num_frames}")
    if num_frames == 0:
        return 1.0
    return float(binomtest(num_found, num_frames, alternative="less").proportion_ci(CONFIDENCE, method="exact").high)


def render_sheet(sheet: AuditSheet, path: Path) -> None:
    """Write the sheet to `path`, atomically; the same sheet always has the same bytes."""
    pictures = [{"id": picture.frame_id, "jpeg": base64.b64encode(picture.jpeg).decode("ascii")} for picture in sheet.pictures]
    examples = [found for found in _EXAMPLES if found <= sheet.num_random]
    bounds = [(found, f"{100 * upper_bound(found, sheet.num_random):.1f}%") for found in examples]
    page = sheet_page("curation.privacy", "audit.html.j2", sheet=sheet, pictures=pictures, bounds=bounds)
    with atomic_file(path) as file:
        file.write(page.encode())


def sheet_page(package: str, template: str, **values: object) -> str:
    """The HTML of a template in the folder `templates` of a package."""
    loader = PackageLoader(package, "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(values)
