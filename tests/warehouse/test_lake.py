import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from warehouse.lake import Lake, LakeError, extension_path, open_lake
from warehouse.schema import SCHEMA_VERSION, TABLES, table_schema
from warehouse.store import write_parquet
from warehouse.views import VIEWS

REJECT = {"uri": "file:///a%20b.mp4", "ingest_key": "k", "reason": "empty", "detail": "it's empty", "num_bytes": 0}


def rejects(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name in TABLES["rejects"].names} for row in rows], schema=TABLES["rejects"])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path / "a lake, it's\nodd é", create=True)


def test_every_table_has_its_columns_and_every_view_answers(lake: Lake) -> None:
    for name, schema in TABLES.items():
        assert lake.query(f"FROM {name}").schema.names == schema.names
    for name in VIEWS:
        lake.query(f"FROM {name}")


def test_rows_survive_closing_and_are_plain_parquet(lake: Lake) -> None:
    lake.append("rejects", rejects(REJECT))
    lake.close()
    with open_lake(lake.root, read_only=True) as again:
        assert again.rows("SELECT uri, detail FROM rejects") == [{"uri": "file:///a%20b.mp4", "detail": "it's empty"}]
    (path,) = (lake.root / "tables" / "main" / "rejects").glob("*.parquet")
    assert duckdb.sql("SELECT detail FROM read_parquet($1)", params=[str(path)]).fetchall() == [("it's empty",)]


def test_a_failed_transaction_leaves_nothing(lake: Lake) -> None:
    with pytest.raises(RuntimeError, match="stop"), lake.transaction():
        lake.append("rejects", rejects(REJECT))
        raise RuntimeError("stop")
    assert lake.rows("FROM rejects") == []


def test_parquet_parts_are_appended_with_constants(lake: Lake, tmp_path: Path) -> None:
    part = pa.table({"shard": ["s"], "frame_id": ["f"], "position": [0], "byte_offset": [512], "byte_size": [10], "other": ["x"]})
    write_parquet(tmp_path / "part.parquet", part)
    lake.append_parquet("shard_frames", [tmp_path / "part.parquet"], {"dataset_id": "d'"})
    assert lake.rows("SELECT dataset_id, frame_id, byte_offset FROM shard_frames") == [
        {"dataset_id": "d'", "frame_id": "f", "byte_offset": 512}
    ]


def test_a_missing_lake_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"there is no lake in .*nowhere.*endoforge ingest"):
        open_lake(tmp_path / "nowhere")


def test_a_lake_of_a_newer_schema_is_refused(lake: Lake) -> None:
    lake.query("INSERT INTO lake_schema VALUES ($1)", [SCHEMA_VERSION + 1])
    lake.close()
    with pytest.raises(LakeError, match=f"schema version {SCHEMA_VERSION + 1}.*knows up to {SCHEMA_VERSION}; upgrade EndoForge"):
        open_lake(lake.root)


def test_a_read_only_lake_refuses_to_be_written(lake: Lake) -> None:
    lake.close()
    with open_lake(lake.root, read_only=True) as reader, pytest.raises(duckdb.Error, match="read-only"):
        reader.append("rejects", rejects(REJECT))


def test_a_moved_lake_opens_with_its_rows(lake: Lake, tmp_path: Path) -> None:
    lake.append("rejects", rejects(REJECT))
    lake.close()
    moved = lake.root.rename(tmp_path / "elsewhere")
    with open_lake(moved) as again:
        assert again.query("FROM rejects").num_rows == 1


@pytest.mark.parametrize("read_only", [False, True])
def test_a_lake_of_an_older_schema_is_refused(lake: Lake, read_only: bool) -> None:
    lake.append("rejects", rejects(REJECT))
    lake.query("UPDATE lake_schema SET version = 2")
    lake.close()
    with pytest.raises(LakeError, match=f"schema version 2, expected {SCHEMA_VERSION}; .* ingest the videos again"):
        open_lake(lake.root, read_only=read_only)


def test_a_lake_takes_the_scores_of_installed_filters(lake: Lake) -> None:
    lake.append("frames", pa.Table.from_pylist([{"frame_id": "old"}], schema=TABLES["frames"]))
    lake.add_scores("frames", {"sheen": "share of wet pixels, 0-1"})
    lake.add_scores("frames", {"sheen": "share of wet pixels, 0-1", "haze": "the lens's haze, 0-1"})
    assert lake.added_scores("frames") == ("haze", "sheen")
    new = pa.Table.from_pylist([{"frame_id": "new", "sheen": 0.5}], schema=table_schema("frames", scores=["sheen"]))
    lake.append("frames", new, scores=["sheen"])
    write_parquet(lake.root / "part.parquet", new)
    lake.append_parquet("frames", [lake.root / "part.parquet"], {"video_id": "v"}, scores=["sheen"])
    rows = [{"sheen": None, "haze": None}, {"sheen": 0.5, "haze": None}, {"sheen": 0.5, "haze": None}]
    assert lake.rows("SELECT sheen, haze FROM frames ORDER BY frame_id DESC") == rows
    assert {"sheen", "haze"} <= set(lake.query("FROM current_frames").schema.names)
    described = "SELECT column_name, description FROM data_dictionary WHERE table_name = 'frames' AND column_name IN ('haze', 'sheen')"
    assert lake.rows(described) == [
        {"column_name": "sheen", "description": "share of wet pixels, 0-1"},
        {"column_name": "haze", "description": "the lens's haze, 0-1"},
    ]
    assert lake.rows("FROM data_dictionary WHERE description IS NULL") == []


def test_a_typed_statement_may_only_ask(lake: Lake, tmp_path: Path) -> None:
    lake.append("rejects", rejects(REJECT))
    assert lake.ask("FROM rejects").num_rows == 1
    assert lake.ask("DESCRIBE rejects").num_rows == len(TABLES["rejects"].names)
    for statement, message in (
        (f"COPY (FROM rejects) TO '{tmp_path / 'x.csv'}'", "this is a COPY statement"),
        ("DELETE FROM rejects", "this is a DELETE statement"),
        ("FROM rejects; FROM videos", "got 2 statements, expected one"),
        ("", "got 0 statements, expected one"),
    ):
        with pytest.raises(LakeError, match=message):
            lake.ask(statement)
    assert not (tmp_path / "x.csv").exists()
    assert lake.ask("FROM rejects").num_rows == 1


def test_the_folder_above_a_lake_is_answered_with_the_lake(lake: Lake) -> None:
    (lake.root.parent / "lake").symlink_to(lake.root)
    with pytest.raises(LakeError, match="did you mean"):
        open_lake(lake.root.parent)


def test_plain_duckdb_reads_the_lake(lake: Lake) -> None:
    lake.append("rejects", rejects(REJECT))
    lake.close()
    connection = duckdb.connect()
    for name in ("ducklake", "sqlite_scanner"):
        connection.execute(f"LOAD '{extension_path(name)}'")
    catalog = str(lake.root / "catalog.sqlite").replace("'", "''")
    connection.execute(f"ATTACH 'ducklake:sqlite:{catalog}' AS lake (READ_ONLY)")
    assert connection.sql("SELECT reason FROM lake.rejects").fetchall() == [("empty",)]
    assert connection.sql("FROM lake.funnel").fetchall()[0][1] == "sampled"


def test_several_processes_commit_to_one_lake(lake: Lake) -> None:
    lake.close()
    program = (
        "import sys, pyarrow as pa\n"
        "from tests.helpers.rows import sparse_row\n"
        "from warehouse.lake import open_lake\n"
        "from warehouse.lineage import RunContext, plan_run, record_run\n"
        "with open_lake(sys.argv[1]) as lake:\n"
        "    for number in range(5):\n"
        "        plan = plan_run(stage='s', version=1, config={'writer': sys.argv[2], 'number': number}, inputs=[])\n"
        "        with record_run(lake, plan, RunContext(runner='serial')) as run:\n"
        "            run.rows('rejects', [sparse_row('rejects', uri=sys.argv[2], reason=str(number))])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(lake.root), name]) for name in ("one", "two", "three")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    with open_lake(lake.root) as again:
        assert again.rows("SELECT count(*) AS n, count(DISTINCT uri || reason) AS d FROM rejects") == [{"n": 15, "d": 15}]
        assert again.rows("SELECT count(*) AS n FROM runs WHERE status = 'complete'") == [{"n": 15}]


def test_what_does_not_fit_into_memory_lies_in_the_lake_until_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with open_lake(tmp_path / "lake", create=True) as lake:
        assert not list((tmp_path / "lake").glob("staging/*"))
        lake.query("SET memory_limit = '120MB'")
        sql = (
            "SELECT range || 'a rather long text that no compression can hide ' || md5(range::VARCHAR) AS t FROM range(1500000) ORDER BY t"
        )
        assert lake.copy_to_parquet(sql, tmp_path / "sorted.parquet") == 1_500_000
        assert list((tmp_path / "lake").glob("staging/duckdb-*"))
    assert not list((tmp_path / "lake").glob("staging/*"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with open_lake(tmp_path / "lake", read_only=True) as lake:
        lake.query("SET memory_limit = '120MB'")
        lake.copy_to_parquet(sql, tmp_path / "again.parquet")
        assert list((tmp_path / "temporary").glob("duckdb-*"))
        assert not list((tmp_path / "lake").glob("staging/*"))
    assert not list((tmp_path / "temporary").iterdir())
    assert not list((tmp_path / "elsewhere").iterdir())


def test_what_has_been_read_is_not_kept_in_memory(tmp_path: Path) -> None:
    with open_lake(tmp_path / "lake", create=True) as lake:
        lake.copy_to_parquet("SELECT md5(range::VARCHAR) AS t FROM range(300000)", tmp_path / "texts.parquet")
        lake.query(f"SELECT max(t) FROM read_parquet('{tmp_path / 'texts.parquet'}')")
        assert sum(row["memory_usage_bytes"] for row in lake.rows("FROM duckdb_memory()")) < 1_000_000


@pytest.mark.parametrize(("told", "threads"), [("3", 3), ("1", 1), ("0", None), ("2,1", None), ("many", None), ("", None)])
def test_openmp_says_how_many_threads_a_lake_uses(told: str, threads: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    with duckdb.connect() as plain, open_lake(tmp_path, create=True) as lake:
        ask = "SELECT current_setting('threads') AS n"
        (own,) = plain.execute(ask).fetchone() or ()
        assert lake.rows(ask) == [{"n": threads or own}]
