"""A statement's rows as text."""

from __future__ import annotations

import io
import json
import re
from typing import Literal

import pyarrow as pa
import pyarrow.csv
from rich.console import Console
from rich.table import Table
from rich.text import Text

from warehouse.lake import Lake

__all__ = ["Format", "answer", "as_text"]

Format = Literal["table", "csv", "json"]


_LONG_ID = re.compile(r"\b[0-9a-f]{64}\b")
_ID_DIGITS = 12
"""Digits of an id on a terminal; commands take such a start of it."""


def answer(lake: Lake, statement: str, *, format: Format, columns: int | None = None) -> str:
    """Run a statement and write its rows, as `as_text` does."""
    return as_text(lake.ask(statement), format=format, columns=columns)


def as_text(rows: pa.Table, *, format: Format, columns: int | None = None) -> str:
    """Write rows as a table for people, as CSV with a header, or as one JSON array.

    Args:
        rows: to write.
        format: of the text.
        columns: of the terminal that shows a table: cells are folded to fit, and ids of 64 digits are shortened; None for no terminal.
    """
    if format == "json":
        return json.dumps(rows.to_pylist(), default=str, ensure_ascii=False, indent=1) + "\n"
    if format == "csv":
        buffer = io.BytesIO()
        nested = [index for index, column in enumerate(rows.schema) if pa.types.is_nested(column.type) or pa.types.is_binary(column.type)]
        for index in nested:  # CSV has no lists and no bytes
            text = pa.array([None if value is None else str(value) for value in rows.column(index).to_pylist()], pa.string())
            rows = rows.set_column(index, rows.schema.names[index], text)
        pyarrow.csv.write_csv(rows, buffer)
        return buffer.getvalue().decode()
    table = Table()
    for name in rows.schema.names:
        table.add_column(Text(name), overflow="fold")
    for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        table.add_row(*(Text(_cell(value, is_short=columns is not None)) for value in row))
    most = 400 if columns is None else columns
    console = Console(width=max(80 if columns is None else 20, min(most, _width(table))), file=io.StringIO(), highlight=False)
    console.print(table)
    console.print(f"{rows.num_rows} rows")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _cell(value: object, *, is_short: bool) -> str:
    said = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return _LONG_ID.sub(lambda found: found[0][:_ID_DIGITS], said) if is_short else said


def _width(table: Table) -> int:
    return Console(width=100_000, file=io.StringIO()).measure(table).maximum
