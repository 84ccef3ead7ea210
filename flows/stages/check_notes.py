"""Notes and tables that pages about labelled sets share."""

from __future__ import annotations

from pathlib import Path

from evaluation.data_check import shared_group_rows
from evaluation.report import Note, PageTable
from evaluation.tasks import TaskData
from warehouse.forgotten import forgotten_hash
from warehouse.store import content_id

__all__ = ["MOST_CLASSES", "as_note", "digest_notes", "digest_of", "first_rows", "nameless", "shared_groups"]

MOST_ROWS = 12
MOST_CLASSES = 24
"""classes of which a page shows pictures"""


def digest_of(group: str, lake: Path | None) -> str:
    """A page is passed on more easily than a folder of data: patients stand on it by a digest.

    With a lake its key makes the digest, which is that of the page of scores. Without one a known name can be found on the page.
    """
    return (content_id([group]) if lake is None else forgotten_hash(lake, group))[:8]


def shared_groups(task: TaskData, lake: Path | None) -> tuple[tuple[str, ...], ...]:
    """Groups that stand in several splits, by their digests, with their images in each."""
    return tuple((digest_of(group, lake), *counts) for group, *counts in shared_group_rows(task))


def digest_notes(task: TaskData, lake: Path | None) -> tuple[Note, ...]:
    """What a reader has to know of the digests on a page; nothing where it has none."""
    if not shared_group_rows(task):
        return ()
    if lake is not None:
        return (as_note(f"groups stand here by digests made with the key of the lake {lake}, as on its page of scores", "info"),)
    return (
        as_note(
            "groups stand here by digests without a key: whoever knows a patient's name can find it on this page; "
            "give --lake for digests with the key of a lake"
        ),
    )


def nameless(text: str, task: TaskData, lake: Path | None) -> str:
    """A sentence with digests in place of the groups that it quotes; files and classes of the same name stay."""
    groups = {item.group for item in task.items} - {item.path for item in task.items} - set(task.classes)
    for group in groups:
        text = text.replace(repr(group), repr(digest_of(group, lake)))
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
