"""Pages that mkdocs makes from the code: every command's help, and the lake's tables and views."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import warehouse.schema
import warehouse.views
from docs.columns import MEANINGS, VIEW_MEANINGS
from flows.cli.cli import COMMANDS, main
from warehouse.schema import TABLES
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
    """Every table with its columns, and every view, with the comments that stand beside them in the code."""
    schema, views = _source(warehouse.schema), _source(warehouse.views)
    parts = [
        "# Tables and views",
        "Units are in the names: `pts_us` is in microseconds, `duration_s` in seconds. Shares and scores are 0 to 1.",
        "## Tables",
    ]
    for table, columns in TABLES.items():
        about, body = _entry(schema, table)
        rows = [f"| `{field.name}` | {field.type} | {_comment(body, field.name)} |" for field in columns]
        parts.append(
            "\n".join([f"### {table}", "", *([about, ""] if about else []), "| column | type | what it is |", "|---|---|---|", *rows])
        )
    parts.append("## Views")
    for view in [*VIEWS, *MACROS]:
        about, _ = _entry(views, view)
        parts.append(f"### {view}\n\n{about or VIEW_MEANINGS.get(view, '')}\n\n```sql\n{_dedent((VIEWS | MACROS)[view])}\n```")
    return "\n\n".join(parts)


def _source(module: Any) -> str:
    return Path(module.__file__).read_text()


def _entry(source: str, name: str) -> tuple[str, str]:
    """The comment above the entry `"name":` of a dictionary, as one sentence, and the text from there to the next entry."""
    match = re.search(rf'((?:^    #.*\n)*)^    "{re.escape(name)}": (.*(?:\n(?:     .*|    [)}}].*)?$)*)', source, re.MULTILINE)
    if match is None:
        return "", ""
    words = " ".join(line.strip().removeprefix("#").strip() for line in match[1].splitlines())
    return (_cell(words[:1].upper() + words[1:]) + "." if words else ""), match[2]


def _comment(body: str, column: str) -> str:
    """The comment behind a column on its line, else what such columns mean everywhere."""
    found = re.search(rf'"{column}": (?:(?!"\w+":)[^#\n])*#\s*(.*)', body)
    return _cell(found[1] if found else MEANINGS.get(column, ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _dedent(sql: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in sql.strip().splitlines())
