"""Rows that name themselves: a table's rows in a Parquet file, under an id that is the hash of the rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from warehouse.schema import TABLES
from warehouse.store import file_sha256, write_parquet

__all__ = ["write_with_id"]


def write_with_id(out: Path, table: str, id_column: str, columns: dict[str, pa.Array]) -> str:
    """Write rows under an id that is the hash of the rows themselves."""
    body = TABLES[table].remove(TABLES[table].get_field_index(id_column))
    write_parquet(out, pa.table(columns, schema=body))
    identifier = file_sha256(out)
    num_rows = len(next(iter(columns.values())))
    ids = pa.array([identifier]).take(pa.array(np.zeros(num_rows, np.int32)))
    write_parquet(out, pa.table({id_column: ids, **columns}, schema=TABLES[table]))
    return identifier
