"""Tables of Markdown from any text: no cell can break out of its table, or bring HTML."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["markdown_table"]


def markdown_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """The lines of a table, with an empty one after it."""
    return [_line(head), "|" + " --- |" * len(head), *map(_line, rows), ""]


def _line(cells: tuple[str, ...]) -> str:
    clean = (" ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split()) for cell in cells)
    return f"| {' | '.join(clean)} |"
