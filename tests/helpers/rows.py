"""Rows for tests that care about a few columns only."""

from __future__ import annotations

from warehouse.schema import TABLES


def sparse_row(table: str, **values: object) -> dict[str, object]:
    """A row of `table` with these values and None everywhere else.

    Raises:
        ValueError: a column is unknown.
    """
    names = TABLES[table].names
    if unknown := values.keys() - set(names):
        raise ValueError(f"unknown columns of {table} are {sorted(unknown)}; give some of {names}")
    return {name: values.get(name) for name in names if name != "run_id"}
