"""Rows that name themselves: a table's rows in a Parquet file, under an id that is the hash of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.schema import TABLES
from warehouse.store import atomic_file, file_sha256

__all__ = ["write_batches_with_id", "write_with_id"]

_GROUP_ROWS = 1 << 20
"""rows of a row group, as `pyarrow.parquet.write_table` cuts them: the id depends on it"""


def write_with_id(out: Path, table: str, id_column: str, columns: dict[str, pa.Array]) -> str:
    """Write rows under an id that is the hash of the rows themselves."""
    return write_batches_with_id(out, table, id_column, [columns])


def write_batches_with_id(out: Path, table: str, id_column: str, batches: Iterable[Mapping[str, pa.Array]]) -> str:
    """Write rows that come some at a time; the id does not depend on how many. Memory is a batch and about a million rows."""
    body = TABLES[table].remove(TABLES[table].get_field_index(id_column))
    unnamed = out.with_name(f"{out.name}.unnamed")
    with atomic_file(unnamed, durable=False) as file, pq.ParquetWriter(file, body, compression="zstd") as writer:
        for group in _groups(batches, body):
            writer.write_table(group, row_group_size=_GROUP_ROWS)
    identifier = file_sha256(unnamed)
    rows = pq.ParquetFile(unnamed)
    with atomic_file(out) as file, pq.ParquetWriter(file, TABLES[table], compression="zstd") as writer:
        for number in range(rows.num_row_groups):
            group = rows.read_row_group(number)
            ids = pa.array([identifier]).take(pa.array(np.zeros(group.num_rows, np.int32)))
            whole = pa.table({id_column: ids, **{name: group[name] for name in body.names}}, schema=TABLES[table])
            writer.write_table(whole, row_group_size=_GROUP_ROWS)
    unnamed.unlink()
    return identifier


def _groups(batches: Iterable[Mapping[str, pa.Array]], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in tables of `_GROUP_ROWS`, the last one of what is left, each in one piece."""
    waiting = schema.empty_table()
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.table(dict(batch), schema=schema)])
        while waiting.num_rows >= _GROUP_ROWS:
            yield waiting.slice(0, _GROUP_ROWS).combine_chunks()
            waiting = waiting.slice(_GROUP_ROWS)
    if waiting.num_rows:
        yield waiting.combine_chunks()
