"""Notes and tables that pages about labelled sets share."""

from __future__ import annotations

from evaluation.report import Note, PageTable
from evaluation.tasks import TaskData
from warehouse.store import content_id

__all__ = ["MOST_CLASSES", "as_note", "digest_of", "first_rows", "nameless"]

MOST_ROWS = 12
MOST_CLASSES = 24
"""classes of which a page shows pictures"""


def digest_of(group: str) -> str:
    """A page is passed on more easily than a folder of data: patients stand on it by a digest.

    It is not keyed, unlike that of the page of scores: this page is made without a lake, so a known name can be found on it.
    """
    return content_id([group])[:8]


def nameless(text: str, task: TaskData) -> str:
    """A sentence with digests in place of the groups that it quotes; files and classes of the same name stay."""
    groups = {item.group for item in task.items} - {item.path for item in task.items} - set(task.classes)
    for group in groups:
        text = text.replace(repr(group), repr(digest_of(group)))
    return text


def as_note(text: str, level: str = "warning") -> Note:
    """A sentence with its level, which `leak: ` at its start sets."""
    if text.startswith("leak: "):
        return Note(level="leak", text=text.removeprefix("leak: "))
    return Note(level=level, text=text.removeprefix("warning: "))


def first_rows(title: str, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> PageTable:
    """A table of the first rows, which says how many there are."""
    hint = f"The first {MOST_ROWS} of {len(rows):,}." if len(rows) > MOST_ROWS else ""
    return PageTable(title=title, hint=hint, columns=columns, rows=rows[:MOST_ROWS])
