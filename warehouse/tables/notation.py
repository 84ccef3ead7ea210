"""How tables and views are written down: a sentence each, and for every column its type and what it holds.

A sentence says what the thing is, its unit or values, and when it is null. It is stored in the lake as the thing's comment, and the
documentation is made from it. At most 200 characters, no full stop at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

__all__ = ["Column", "Table", "View", "binary", "boolean", "float32", "float64", "int32", "int64", "text", "time"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    type: pa.DataType
    what: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table: what one row is, and its columns in order."""

    what: str
    columns: Mapping[str, Column]

    @property
    def schema(self) -> pa.Schema:
        """Names and types alone: a description in a schema's metadata would be written into every Parquet part."""
        return pa.schema({name: column.type for name, column in self.columns.items()})


@dataclass(frozen=True, slots=True)
class View:
    """A view, or a table macro: what it answers, and its SQL."""

    what: str
    sql: str


def text(what: str) -> Column:
    """A string column."""
    return Column(pa.string(), what)


def int64(what: str) -> Column:
    """A column of 64-bit integers."""
    return Column(pa.int64(), what)


def int32(what: str) -> Column:
    """A column of 32-bit integers."""
    return Column(pa.int32(), what)


def float32(what: str) -> Column:
    """A column of 32-bit floats."""
    return Column(pa.float32(), what)


def float64(what: str) -> Column:
    """A column of 64-bit floats."""
    return Column(pa.float64(), what)


def boolean(what: str) -> Column:
    """A column of truth values."""
    return Column(pa.bool_(), what)


def binary(what: str) -> Column:
    """A column of bytes."""
    return Column(pa.binary(), what)


def time(what: str) -> Column:
    """A column of UTC times in microseconds."""
    return Column(pa.timestamp("us", tz="UTC"), what)
