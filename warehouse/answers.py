"""A statement's rows as text."""

from __future__ import annotations

import datetime
import io
import json
import math
import re
from decimal import Decimal
from typing import Any, Literal

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

    Times and intervals are in ISO 8601, bytes in hexadecimal digits; lists, structs and maps are JSON also in tables and CSV. JSON has
    numbers for all numbers, and null for one that is not finite.

    Args:
        rows: to write.
        format: of the text.
        columns: of the terminal that shows a table: cells are folded to fit, and ids of 64 digits are shortened; None for no terminal.
    """
    if format == "json":
        return json.dumps(_plain(_values(rows)), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    if format == "csv":
        buffer = io.BytesIO()
        for index, column in enumerate(rows.schema):
            if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or pa.types.is_interval(column.type):
                text = [None if value is None else _text(value) for value in _values(rows.column(index))]
                rows = rows.set_column(index, column.name, pa.array(text, pa.string()))
        pyarrow.csv.write_csv(rows, buffer)
        return buffer.getvalue().decode()
    table = Table()
    for name in rows.schema.names:
        table.add_column(Text(name), overflow="fold")
    for row in zip(*map(_values, rows.columns), strict=True):
        table.add_row(*(Text(_cell(value, is_short=columns is not None)) for value in row))
    most = 400 if columns is None else columns
    console = Console(width=max(80 if columns is None else 20, min(most, _width(table))), file=io.StringIO(), highlight=False)
    console.print(table)
    console.print(f"{rows.num_rows} rows")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _values(rows: pa.Table | pa.ChunkedArray) -> list[Any]:
    values: list[Any] = rows.to_pylist(maps_as_pydicts="lossy")
    return values


def _plain(value: Any) -> Any:
    """The same value as JSON has it."""
    match value:
        case dict():
            return {key if isinstance(key, str) else str(_plain(key)): _plain(one) for key, one in value.items()}
        case pa.MonthDayNano(months=months, days=days, nanoseconds=nanoseconds):
            parts = [f"{months}M" * (months != 0), f"{days}D" * (days != 0)]
            return "P" + "".join(parts) + (f"T{Decimal(nanoseconds) / 10**9:f}S" if nanoseconds or not any(parts) else "")
        case list() | tuple():
            return [_plain(one) for one in value]
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case float():
            return value if math.isfinite(value) else None
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case None | bool() | int() | str():
            return value
        case _:
            return str(value)


def _text(value: object) -> str:
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _cell(value: object, *, is_short: bool) -> str:
    if isinstance(value, dict | list | tuple | bytes):
        said = _text(value)
    else:
        said = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return _LONG_ID.sub(lambda found: found[0][:_ID_DIGITS], said) if is_short else said


def _width(table: Table) -> int:
    return Console(width=100_000, file=io.StringIO()).measure(table).maximum
