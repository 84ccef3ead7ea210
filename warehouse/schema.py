"""The lake's tables as Arrow schemas: the one place that says what a column is called and holds.

Workers write Parquet parts with these schemas; the lake makes its tables from them. Units are in the
names. What each column holds stands beside its type in `warehouse/tables`; a lake shows it as the
column's comment and in the view `data_dictionary`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from warehouse.tables.clips import CLIP_TABLES
from warehouse.tables.curation import CURATION_TABLES
from warehouse.tables.ingest import INGEST_TABLES
from warehouse.tables.notation import Table
from warehouse.tables.privacy import PRIVACY_TABLES
from warehouse.tables.runs import LAKE_SCHEMA, RUN_TABLES

__all__ = ["DESCRIBED_TABLES", "SCHEMA_VERSION", "TABLES", "embedding_schema", "table_schema"]

SCHEMA_VERSION = 8

_PARTS = {**INGEST_TABLES, **PRIVACY_TABLES, **CURATION_TABLES, **CLIP_TABLES, **RUN_TABLES}

TABLES: dict[str, pa.Schema] = {name: table.schema for name, table in _PARTS.items()}
"""Tables that stages fill."""

DESCRIBED_TABLES: dict[str, Table] = {**_PARTS, "lake_schema": LAKE_SCHEMA}
"""All tables of a lake, with what they and their columns hold."""


def table_schema(table: str, *, scores: Sequence[str] = ()) -> pa.Schema:
    """The columns of a table, with those of the scores that installed filters add: nullable 32-bit floats (see curation/filters)."""
    schema = TABLES[table]
    for name in scores:
        schema = schema.append(pa.field(name, pa.float32()))
    return schema


def embedding_schema(dim: int) -> pa.Schema:
    """What an embedding part holds: L2-normalised vectors, all of one size; DuckDB reads them with read_parquet(path)."""
    return pa.schema({"frame_id": pa.string(), "embedding": pa.list_(pa.float16(), dim)})
