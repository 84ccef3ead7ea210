"""What a lake says of its own tables, columns and views."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from warehouse.dictionary import data_dictionary, described
from warehouse.lake import LakeError, extension_path, open_lake
from warehouse.schema import DESCRIBED_TABLES, TABLES
from warehouse.view_columns import VIEW_COLUMNS
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


def test_no_column_of_a_view_lacks_a_description() -> None:
    entries = data_dictionary()
    assert len(entries) > 690
    assert [f"{entry.table}.{entry.column}" for entry in entries if not entry.what] == []
    assert {entry.table for entry in entries if entry.type == "view"} == VIEWS.keys() == VIEW_COLUMNS.keys()
    known = {(entry.table, entry.column) for entry in entries}
    assert [(view, column) for view, said in VIEW_COLUMNS.items() for column in said.own if (view, column) not in known] == []
    for entry in entries:
        assert len(entry.what) <= 200, entry
        assert not entry.what.endswith("."), entry
        assert entry.what.lower() != (entry.column or "").replace("_", " "), entry


def test_a_view_says_what_it_passes_on_and_what_it_makes() -> None:
    columns = {row["column"]: row for row in described(data_dictionary(), "per_video").to_pylist()}
    assert columns["kept_share"] == {
        "column": "kept_share",
        "type": "DOUBLE",
        "description": "num_frames_kept as a share, 0-1, of num_frames_sampled",
    }
    assert columns["duration_s"]["description"] == DESCRIBED_TABLES["videos"].columns["duration_s"].what


def test_a_lake_and_the_schema_say_the_same(root: Path) -> None:
    with open_lake(root, read_only=True) as lake:
        assert data_dictionary(lake) == data_dictionary()


def test_a_macro_gives_the_columns_that_it_is_said_to_give(root: Path) -> None:
    with open_lake(root, read_only=True) as lake:
        given = [(row["column_name"], row["column_type"]) for row in lake.rows("DESCRIBE FROM ancestry('none')")]
    assert [(row["column"], row["type"]) for row in described(data_dictionary(), "ancestry").to_pylist()] == given


def test_a_table_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(LakeError, match="there is no table or view 'funel'; did you mean 'funnel'"):
        described(data_dictionary(), "funel")
