"""The data dictionary: every table, view, macro and column with its type and what it is, of a lake or of the schema alone.

`endoforge tables` and the documentation's page of tables are made from it. Descriptions of tables, their columns and views come from the
comments in the lake, so that columns of installed filters are there too; those of views' columns from `warehouse/view_columns.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.lake import Lake, LakeError
from warehouse.schema import DESCRIBED_TABLES
from warehouse.statements import create_table, create_view
from warehouse.view_columns import VIEW_COLUMNS
from warehouse.views import MACROS, VIEWS

__all__ = ["Entry", "data_dictionary", "described"]

_LISTED = """
    SELECT table_name, column_name, data_type, comment FROM duckdb_columns()
    WHERE database_name = current_database() AND schema_name = current_schema() ORDER BY table_name, column_index
"""
_MACRO_COLUMNS = {
    "ancestry(id)": {
        "kind": ("VARCHAR", "what it is, as artifacts.kind"),
        "artifact_id": ("VARCHAR", "its id, as artifacts.artifact_id"),
        "uri": ("VARCHAR", "where it is, as artifacts.uri"),
        "depth": ("INTEGER", "runs between it and the artifact asked about; 0 is that one"),
    },
    "dataset_diff(a, b)": {
        "only_in": ("VARCHAR", "name of the dataset that holds it"),
        "frame_id": ("VARCHAR", "the frame, or the clip"),
        "video_id": ("VARCHAR", "its video, as videos.video_id"),
        "uri": ("VARCHAR", "a place where that video was seen last"),
        "second": ("DOUBLE", "presentation time in seconds since the video's first frame; of a clip that of its start"),
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A column, or a table, view or macro as a whole."""

    table: str
    column: str | None
    """null for the whole"""
    type: str
    """DuckDB's name of a column's type; table, view or macro for the whole"""
    what: str


def data_dictionary(lake: Lake | None = None) -> tuple[Entry, ...]:
    """All entries: tables, then views, then macros, each in the order of the schema and followed by its columns.

    Without a lake it is what a new lake would have, without columns that installed filters add.
    """
    comments: dict[str, dict[str, tuple[str, str]]] = {}
    for row in _columns(lake):
        comments.setdefault(row["table_name"], {})[row["column_name"]] = (row["data_type"], row["comment"] or "")
    entries = []
    for name, table in DESCRIBED_TABLES.items():
        entries += _of(name, "table", table.what, comments.get(name, {}))
    for name, view in VIEWS.items():
        said = {column: (type_, _of_view(name, column, comments)) for column, (type_, _) in comments.get(name, {}).items()}
        entries += _of(name, "view", view.what, said)
    for name, macro in MACROS.items():
        entries += _of(name, "macro", macro.what, _MACRO_COLUMNS[name])
    return tuple(entries)


def described(entries: Sequence[Entry], name: str | None) -> pa.Table:
    """Rows of text to print: all tables, views and macros without their columns, or the columns of the one named.

    Raises:
        LakeError: there is none of that name; the message names the nearest.
    """
    if name is None:
        wholes = [{"name": entry.table, "kind": entry.type, "description": entry.what} for entry in entries if entry.column is None]
        return pa.Table.from_pylist(wholes)
    names = {entry.table.partition("(")[0]: entry.table for entry in entries}
    if (found := names.get(name.partition("(")[0])) is None:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`endoforge tables` lists all"
        raise LakeError(f"there is no table or view {name!r}; {hint}")
    of_it = [entry for entry in entries if entry.table == found and entry.column is not None]
    return pa.Table.from_pylist([{"column": entry.column, "type": entry.type, "description": entry.what} for entry in of_it])


def _columns(lake: Lake | None) -> list[dict[str, Any]]:
    if lake is not None:
        return lake.rows(_LISTED)
    with duckdb.connect() as connection:  # in memory: no files, no extensions
        statements = [statement for name, table in DESCRIBED_TABLES.items() for statement in create_table(name, table)]
        statements += [statement for name, view in VIEWS.items() for statement in create_view(name, view)]
        connection.execute("; ".join(statements))
        rows: list[dict[str, Any]] = connection.execute(_LISTED).to_arrow_table().to_pylist()
    return rows


def _of(name: str, kind: str, what: str, columns: dict[str, tuple[str, str]]) -> list[Entry]:
    whole = Entry(table=name, column=None, type=kind, what=what)
    return [whole, *(Entry(table=name, column=column, type=type_, what=said) for column, (type_, said) in columns.items())]


def _of_view(view: str, column: str, comments: dict[str, dict[str, tuple[str, str]]]) -> str:
    """Its own description, or that of the first table that it is passed on from; empty if there is none."""
    said = VIEW_COLUMNS[view]
    if column in said.own:
        return said.own[column]
    return next((comments[table][column][1] for table in said.tables if column in comments.get(table, {})), "")
