"""What a lake says of its own tables, columns and views."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from warehouse.lake import extension_path, open_lake
from warehouse.schema import DESCRIBED_TABLES, TABLES
from warehouse.views import MACROS, VIEWS

BLUR = "variance of the Laplacian over the content area, scaled to 256 pixels' width; low is blurred"
FUNNEL = "How many current frames were sampled, dropped for each reason, and kept, with their share of all"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "lake"
    open_lake(folder, create=True).close()
    return folder


@pytest.fixture
def foreign(root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB as anyone has it, with the lake attached under a name of its own."""
    connection = duckdb.connect()
    for name in ("ducklake", "sqlite_scanner"):
        connection.execute(f"LOAD '{extension_path(name)}'")
    connection.execute(f"ATTACH 'ducklake:sqlite:{root / 'catalog.sqlite'}' AS theirs (READ_ONLY)")
    yield connection
    connection.close()


def all_descriptions() -> dict[str, str]:
    """What is said of each thing, by its name."""
    columns = {f"{name}.{column}": said.what for name, table in DESCRIBED_TABLES.items() for column, said in table.columns.items()}
    return columns | {name: thing.what for name, thing in (DESCRIBED_TABLES | VIEWS | MACROS).items()}


def test_each_thing_has_a_description_of_its_own() -> None:
    said = all_descriptions()
    assert len(said) > 330
    for name, what in said.items():
        assert what == what.strip(), name
        assert 0 < len(what) <= 200, name
        assert not what.endswith("."), name
        assert "\n" not in what, name
        assert what.lower() not in (name, name.rpartition(".")[2].replace("_", " ")), name


def test_parquet_parts_do_not_carry_the_descriptions() -> None:
    for schema in TABLES.values():
        assert schema.metadata is None
        assert [field.name for field in schema if field.metadata is not None] == []


def test_a_lake_lists_its_tables_columns_and_views(root: Path) -> None:
    with open_lake(root, read_only=True) as lake:
        listed = lake.rows("FROM data_dictionary")
        blur = lake.ask("FROM data_dictionary WHERE table_name = 'frames' AND column_name = 'blur'").to_pylist()
        order = lake.rows("SELECT column_name FROM data_dictionary WHERE table_name = 'frames'")
    assert blur == [{"table_name": "frames", "column_name": "blur", "type": "FLOAT", "description": BLUR}]
    assert [row["column_name"] for row in order] == [None, *TABLES["frames"].names]
    found = {row["table_name"] + ("." + row["column_name"] if row["column_name"] else ""): row["description"] for row in listed}
    assert found == {name: what for name, what in all_descriptions().items() if name not in MACROS}
    kinds = {row["table_name"]: row["type"] for row in listed if row["column_name"] is None}
    assert kinds == dict.fromkeys(DESCRIBED_TABLES, "table") | dict.fromkeys(VIEWS, "view")


def test_any_client_shows_the_comments(foreign: duckdb.DuckDBPyConnection) -> None:
    column = "SELECT comment FROM duckdb_columns() WHERE table_name = 'frames' AND column_name = 'blur'"
    assert foreign.sql(column).fetchall() == [(BLUR,)]
    assert foreign.sql("SELECT comment FROM duckdb_views() WHERE view_name = 'funnel'").fetchall() == [(FUNNEL,)]
    assert foreign.sql("SELECT comment FROM duckdb_tables() WHERE table_name = 'edges'").fetchall() == [
        ("Which complete run read or made which artifact",)
    ]


def test_any_client_has_the_dictionary(foreign: duckdb.DuckDBPyConnection) -> None:
    foreign.execute("CREATE TABLE of_their_own (number INTEGER)")
    assert foreign.sql(
        "SELECT description FROM theirs.data_dictionary WHERE table_name = 'frames' AND column_name = 'blur'"
    ).fetchall() == [(BLUR,)]
    assert foreign.sql("FROM theirs.data_dictionary WHERE table_name = 'of_their_own'").fetchall() == []
