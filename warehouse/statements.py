"""The statements that make a lake's tables and views, and describe them: text only, which `warehouse.lake` runs.

Descriptions are comments (COMMENT ON) of the catalog, so that any client shows them. DuckLake has none for macros and for columns of views.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from warehouse.tables.notation import Table, View

__all__ = ["add_column", "add_text_column", "create_macro", "create_table", "create_view", "quote"]

_ARROW_TO_SQL = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BLOB",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}


def create_table(name: str, table: Table) -> Iterator[str]:
    """Make a table and describe it and each of its columns."""
    columns = ", ".join(f'"{column}" {_ARROW_TO_SQL[said.type]}' for column, said in table.columns.items())
    yield f"CREATE TABLE {name} ({columns})"
    yield f"COMMENT ON TABLE {name} IS {quote(table.what)}"
    for column, said in table.columns.items():
        yield _comment_on_column(name, column, said.what)


def add_column(table: str, column: str, what: str) -> Iterator[str]:
    """Give a table a column of 32-bit floats and describe it; rows that are there already have null in it."""
    yield f'ALTER TABLE {table} ADD COLUMN "{column}" FLOAT'
    yield _comment_on_column(table, column, what)


def add_text_column(table: str, column: str, what: str) -> Iterator[str]:
    """Give a table a column of text and describe it; rows that are there already have null in it."""
    yield f'ALTER TABLE {table} ADD COLUMN "{column}" VARCHAR'
    yield _comment_on_column(table, column, what)


def create_view(name: str, view: View) -> Iterator[str]:
    """Make a view, or make it anew, and describe it: what replaces a view has no comment."""
    yield f"CREATE OR REPLACE VIEW {name} AS {view.sql}"
    yield f"COMMENT ON VIEW {name} IS {quote(view.what)}"


def create_macro(signature: str, macro: View) -> str:
    """Make a table macro, such as ancestry(id), or make it anew."""
    return f"CREATE OR REPLACE MACRO {signature} AS TABLE {macro.sql}"


def _comment_on_column(table: str, column: str, what: str) -> str:
    return f'COMMENT ON COLUMN {table}."{column}" IS {quote(what)}'


def quote(text: str) -> str:
    """A SQL string literal, for the few statements that take no bound parameter; used on paths, names and descriptions of ours only."""
    return "'" + text.replace("'", "''") + "'"
