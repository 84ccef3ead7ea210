"""Pages that mkdocs makes from the code: every command's help, and the lake's tables and views."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

from mkdocs.structure.files import File, Files

from flows.cli.cli import COMMANDS, main
from warehouse.dictionary import Entry, data_dictionary
from warehouse.schema import DESCRIBED_TABLES
from warehouse.views import MACROS, VIEWS

__all__ = ["commands_page", "on_files", "tables_page"]


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages; mkdocs calls this before it reads any page."""
    for name, text in (("commands.md", commands_page()), ("tables.md", tables_page())):
        files.append(File.generated(config, name, content=text))
    return files


def commands_page() -> str:
    """What `endoforge COMMAND --help` prints, of every command."""
    intro = "Every command's `--help`. `pretrain` shows the values of the recipe `demo`; give `--recipe NAME --help` for another's."
    return "\n\n".join(["# Commands", intro, *(f"## {name}\n\n```text\n{_help(name)}\n```" for name in COMMANDS)])


def _help(command: str) -> str:
    """The help text, in one column of 80 characters."""
    before, printed = dict(os.environ), io.StringIO()
    os.environ.update(COLUMNS="80", NO_COLOR="1", TERM="dumb")
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([command, "--help"])
    finally:
        os.environ.clear()
        os.environ.update(before)
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def tables_page() -> str:
    """Every table with its columns, and every view, with what a lake itself says of them in its view data_dictionary."""
    parts = [
        "# Tables and views",
        "Units are in the names: `pts_us` is in microseconds, `duration_s` in seconds. Shares are 0 to 1. "
        "`endoforge tables NAME` prints the same. A lake says it of its own tables and views: `FROM data_dictionary`.",
        "## Tables",
    ]
    entries = data_dictionary()
    for name in DESCRIBED_TABLES:
        parts.append(_described(name, entries))
    parts.append("## Views")
    for name, view in (VIEWS | MACROS).items():
        parts.append(f"{_described(name, entries)}\n\n```sql\n{_dedent(view.sql)}\n```")
    return "\n\n".join(parts)


def _described(name: str, entries: tuple[Entry, ...]) -> str:
    """A heading, what the table or view is, and its columns."""
    whole, *columns = (entry for entry in entries if entry.table == name)
    rows = [f"| `{entry.column}` | {entry.type} | {_cell(entry.what)} |" for entry in columns]
    return "\n".join([f"### {name}", "", f"{_cell(whole.what)}.", "", "| column | type | what it is |", "|---|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _dedent(sql: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in sql.strip().splitlines())
