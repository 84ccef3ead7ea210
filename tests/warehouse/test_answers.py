"""Rows as text: folded to a terminal with short ids, and whole everywhere else."""

import json

import pyarrow as pa

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


def test_only_a_name_that_is_near_is_suggested() -> None:
    assert near_hint("phantm", ["curated", "phantom"]) == ". Did you mean 'phantom'?"
    assert near_hint("colons", ["curated", "phantom"]) == ""
