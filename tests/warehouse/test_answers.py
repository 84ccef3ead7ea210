"""Rows as text: folded to a terminal with short ids, and whole everywhere else."""

import json

import duckdb
import pyarrow as pa
import pytest

from warehouse.answers import as_text
from warehouse.near_names import near_hint

ID = "0123456789abcdef" * 4
ROWS = pa.table({"dataset_id": [ID], "path": ["frames/" + "x" * 80], "share": [0.25]})


def test_a_table_is_folded_to_the_terminal_and_loses_nothing_but_digits_of_ids() -> None:
    shown = as_text(ROWS, format="table", columns=60)
    assert max(map(len, shown.splitlines())) <= 60
    assert shown.count("x") == 80
    assert "0123456789ab" in shown
    assert "0123456789abc" not in shown


def test_without_a_terminal_and_for_machines_everything_is_whole() -> None:
    assert ID in as_text(ROWS, format="table")
    assert ID in as_text(ROWS, format="csv", columns=60)
    assert json.loads(as_text(ROWS, format="json", columns=60)) == ROWS.to_pylist()


VALUES = {
    "DATE '2026-01-02'": ("2026-01-02", "2026-01-02"),
    "TIMESTAMP '2026-01-02 03:04:05.25'": ("2026-01-02T03:04:05.250000", "2026-01-02 03:04:05.250000"),
    "TIMESTAMPTZ '2026-01-02 03:04:05+00'": ("2026-01-02T03:04:05+00:00", "2026-01-02 03:04:05.000000Z"),
    "TIME '01:02:03'": ("01:02:03", "01:02:03.000000"),
    "INTERVAL '3 days 1.5 seconds'": ("P3DT1.5S", '"P3DT1.5S"'),
    "INTERVAL 0 DAY": ("PT0S", '"PT0S"'),
    "INTERVAL 14 MONTH": ("P14M", '"P14M"'),
    "[1, NULL, 3]": ([1, None, 3], '"[1, null, 3]"'),
    "{'a': 1, 'b': [DATE '2026-01-02']}": ({"a": 1, "b": ["2026-01-02"]}, '"{""a"": 1, ""b"": [""2026-01-02""]}"'),
    "MAP {'k': 2.5::DECIMAL(5, 2)}": ({"k": 2.5}, '"{""k"": 2.5}"'),
    "MAP {DATE '2026-01-02': 1}": ({"2026-01-02": 1}, '"{""2026-01-02"": 1}"'),
    "(SELECT sum(n) FROM range(4) t(n))": (6, "6"),
    "12.50::DECIMAL(5, 2)": (12.5, "12.50"),
    "170141183460469231731687303715884105727::HUGEINT": (
        170141183460469231731687303715884105727,
        "170141183460469231731687303715884105727",
    ),
    "'nan'::DOUBLE": (None, "nan"),
    "'ab'::BLOB": ("6162", '"6162"'),
    "'{\"a\": 1}'::JSON": ('{"a": 1}', '"{""a"": 1}"'),
    "true": (True, "true"),
    "NULL::INTEGER[]": (None, ""),
}
"""Of each value of DuckDB, what JSON and CSV have."""


def test_values_of_each_type_are_read_by_machines_and_people() -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.execute("SELECT " + ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(VALUES))).to_arrow_table()
    found = json.loads(as_text(rows, format="json"), parse_constant=pytest.fail)
    assert list(found[0].values()) == [expected for expected, _ in VALUES.values()]
    for number, (_, expected) in enumerate(VALUES.values()):
        assert as_text(rows.select([number]), format="csv") == f'"c{number}"\n{expected}\n'
    shown = as_text(rows.select([4, 7, 8, 15]), format="table", columns=200)
    for cell in ("[1, null, 3]", '{"a": 1, "b": ["2026-01-02"]}', "6162"):
        assert cell in shown


def test_only_a_name_that_is_near_is_suggested() -> None:
    assert near_hint("phantm", ["curated", "phantom"]) == ". Did you mean 'phantom'?"
    assert near_hint("colons", ["curated", "phantom"]) == ""
