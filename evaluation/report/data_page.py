"""One self-contained HTML page about a labelled set, to be looked at before any score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evaluation.report.report import ContactSheet, Note, page_environment
from warehouse.store import atomic_file

__all__ = ["DataPage", "PageTable", "render_data_page"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """A table of text; the first column names the row, the others are numbers."""

    title: str
    hint: str = ""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPage:
    """All that the page shows; whatever is empty leaves its section out."""

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    tiles: tuple[tuple[str, str], ...]
    """value and what it is"""
    notes: tuple[Note, ...]
    tables: tuple[PageTable, ...]
    overlays: ContactSheet | None = None
    """images with the outline of their mask, or frames with their boxes"""
    overlays_hint: str = ""
    samples: tuple[ContactSheet, ...] = ()
    """some images of each class"""
    unit: str = "images"
    """what `samples` shows some of"""


def render_data_page(data: DataPage, path: Path) -> None:
    """Write the page to `path`, atomically.

    Args:
        data: what to show. Strings may hold anything; they are escaped.
        path: of the HTML file.
    """
    machine = {
        "facts": dict(data.facts),
        "notes": [{"level": note.level, "text": note.text} for note in data.notes],
        "tables": [{"title": table.title, "columns": table.columns, "rows": table.rows} for table in data.tables],
    }
    page = page_environment().get_template("data.html.j2").render(data=data, machine=machine)
    with atomic_file(path) as file:
        file.write(page.encode("utf-8", errors="replace"))  # a file name that is not UTF-8 must not cost the page
