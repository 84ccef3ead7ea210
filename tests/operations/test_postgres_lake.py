"""A lake whose catalog is a Postgres database: made, named, written by several, read meanwhile, and left by a killed writer."""

import datetime
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from flows.cli.cli import main
from flows.parameters import takes
from tests.helpers.films import tissue, write_video
from tests.helpers.postgres import PASSWORD, Server, binaries
from tests.helpers.rejects import add_reject
from warehouse.catalog import LakeError, parse_catalog, write_catalog_file
from warehouse.data_path import stored_data_path
from warehouse.extensions import bare_connection
from warehouse.lake import open_lake
from warehouse.local_path import is_lake
from warehouse.maintenance import compact_catalog, live_files, maintain
from warehouse.new_lake import make_lake
from warehouse.postgres import PostgresTurns, lake_folder, refuse_unless_owner, rewrite_tables
from warehouse.schema import TABLES
from warehouse.snapshots import list_snapshots

pytestmark = pytest.mark.skipif(binaries() is None, reason="no Postgres server is installed; apt-get install postgresql")

WRITER = """
import sys
from tests.helpers.rejects import add_reject
from warehouse.lake import open_lake
with open_lake(sys.argv[1]) as lake:
    for number in range(int(sys.argv[3])):
        add_reject(lake, f"{sys.argv[2]} {number}")
"""
HOLDER = """
import sys, time
from warehouse.lake import open_lake
with open_lake(sys.argv[1]) as lake, lake.transaction():
    lake.query("INSERT INTO lake_schema VALUES (99)")
    print("holding", flush=True)
    time.sleep(300)
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)


def stored(postgres: Server, database: str) -> bytes:
    """The bytes of all files of a database, once the server has written them."""
    postgres.tell(database, "CHECKPOINT")
    oid = postgres.tell(database, "SELECT oid FROM pg_database WHERE datname = current_database()")
    return b"".join(path.read_bytes() for path in (postgres.folder / "data" / "base" / oid).iterdir() if path.is_file())


@pytest.fixture(scope="module")
def catalog(postgres: Server) -> str:
    return postgres.catalog("shared")


@pytest.fixture(scope="module")
def folder(catalog: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("made") / "a lake", catalog)


def test_the_folder_names_its_database_and_the_database_its_folder(
    folder: Path, catalog: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (folder / "catalog.toml").read_text().endswith(f'catalog = "{catalog}"\n')
    assert not (folder / "catalog.sqlite").exists()
    assert is_lake(str(folder))
    assert lake_folder(catalog) == folder == lake_folder(str(folder))
    question = "SELECT count(*) AS n FROM lake_schema"
    assert main(["sql", question, "--lake", catalog, "--format", "csv"]) == 0
    monkeypatch.setenv("ENDOFORGE_LAKE", catalog)
    assert main(["sql", question, "--format", "csv"]) == 0
    assert main(["sql", question, f"--lake={folder}", "--format", "csv"]) == 0
    assert capfd.readouterr().out.replace('"', "").split() == ["n", "1"] * 3

    @takes(["lake"])
    def flow(config: object) -> str:
        return str(config.lake)  # type: ignore[attr-defined]

    assert flow(lake=catalog) == str(folder)


def test_an_empty_database_is_known_without_an_error_which_the_server_would_say_in_its_language(postgres: Server) -> None:
    empty = parse_catalog(postgres.catalog("blank"))
    log = postgres.folder / "log"
    num_before = log.read_text().count("ERROR:")
    with bare_connection("postgres_scanner") as connection:
        assert stored_data_path(connection, empty, read_only=False) is None
    assert log.read_text().count("ERROR:") == num_before


def test_two_writers_and_a_reader_lose_nothing(folder: Path) -> None:
    writers = [start(WRITER, str(folder), name, "6") for name in ("a", "b")]
    seen = []
    with open_lake(folder, read_only=True) as reader:
        while any(writer.poll() is None for writer in writers):
            seen.append(reader.rows("SELECT count(*) AS n FROM rejects")[0]["n"])
        assert [writer.wait() for writer in writers] == [0, 0]
        rows = reader.rows("SELECT uri FROM rejects ORDER BY uri")
    assert seen == sorted(seen)
    assert [row["uri"] for row in rows] == [f"{name} {number}" for name in "ab" for number in range(6)]


def test_a_killed_writer_leaves_its_turn_and_nothing_else(folder: Path) -> None:
    holder = start(HOLDER, str(folder))
    assert holder.stdout is not None
    assert any("holding" in line for line in holder.stdout)
    with open_lake(folder) as lake:
        waiting = threading.Thread(target=add_reject, args=(lake, "after the kill"), daemon=True)
        waiting.start()
        waiting.join(timeout=1.5)
        assert waiting.is_alive(), "the turn is another's"
        with open_lake(folder, read_only=True) as reader:
            assert reader.rows("SELECT count(*) AS n FROM lake_schema") == [{"n": 1}]
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        waiting.join(timeout=60)
        assert not waiting.is_alive()
        assert lake.rows("SELECT count(*) AS n FROM lake_schema") == [{"n": 1}]
        assert lake.rows("SELECT count(*) AS n FROM rejects WHERE uri = 'after the kill'") == [{"n": 1}]


def test_a_turn_may_be_taken_again_by_who_has_it(catalog: str) -> None:
    turns = PostgresTurns(parse_catalog(catalog))
    with turns, turns:
        pass
    with turns:
        pass
    turns.close()


def test_a_video_is_ingested_and_the_past_is_read(postgres: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    catalog, lake = postgres.catalog("ingested"), tmp_path / "lake"
    assert main(["init-lake", "--lake", str(lake), "--catalog", catalog]) == 0
    for number in range(2):
        write_video(tmp_path / "videos" / f"{number}.mp4", [tissue(number), tissue(number + 5)])
        rest = ["--lake", catalog, "--runner", "serial", "--text", "off", "--settle-s", "0"]
        assert main(["ingest", str(tmp_path / "videos"), *rest]) == 0
        if number == 0:
            assert main(["snapshots", "--lake", str(lake), "--tag", "first"]) == 0
    capfd.readouterr()
    assert main(["sql", "SELECT count(*) AS n FROM videos", "--lake", catalog, "--at", "first", "--format", "csv"]) == 0
    assert main(["sql", "SELECT count(*) AS n FROM videos", "--lake", catalog, "--format", "csv"]) == 0
    assert capfd.readouterr().out.replace('"', "").split() == ["n", "1", "n", "2"]
    with open_lake(lake) as opened:
        assert {path.suffix for path in live_files(opened)} == {".parquet"}
        assert list_snapshots(opened)[-1].changes
    everything = b"".join(path.read_bytes() for path in lake.rglob("*") if path.is_file())
    assert PASSWORD.encode() not in everything
    assert PASSWORD not in (postgres.folder / "log").read_text()


def test_a_lake_is_made_small_and_loses_no_live_file(postgres: Server, tmp_path: Path) -> None:
    make_lake(tmp_path / "lake", postgres.catalog("small"))
    with open_lake(tmp_path / "lake") as lake:
        for number in range(8):
            add_reject(lake, str(number))
        none = datetime.timedelta(0)
        done = maintain(lake, keep=none, grace=none)
        assert (done.num_kept, done.num_merged, done.num_waiting) == (1, 7, 8)
        assert maintain(lake, keep=none, grace=none).num_deleted == 8
        assert set((lake.root / "tables").rglob("*.parquet")) == live_files(lake)
        assert lake.rows("SELECT count(*) AS n FROM rejects") == [{"n": 8}]
        add_reject(lake, "file:///it's%20a%20name.mp4")
        kept = "SELECT count(*) FROM ducklake_file_column_stats WHERE min_value LIKE '%a\\%20name%'"
        assert postgres.tell("small", kept) == "1"
        compact_catalog(lake, ["it's%20a%20name"])
        assert postgres.tell("small", kept) == "0"
        assert lake.rows("SELECT uri FROM rejects WHERE uri > 'file'") == [{"uri": "file:///it's%20a%20name.mp4"}]


def test_what_is_forgotten_leaves_the_catalog_and_the_files_of_the_server(
    postgres: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_lake(tmp_path / "lake", postgres.catalog("forgetful"))
    with open_lake(tmp_path / "lake") as lake:
        for letter in "ab":
            for table, row in (("files", {"version": "1"}), ("videos", {}), ("frames", {"frame_id": f"{letter * 16}-00000000-0"})):
                row |= {"uri": f"file:///in/film%20of%20{letter}.mp4", "video_id": letter * 64}
                values = {name: row.get(name) for name in TABLES[table].names}
                with lake.transaction():
                    lake.append(table, pa.Table.from_pylist([values], schema=TABLES[table]))
    postgres.tell("forgetful", "ANALYZE")  # as the server does by itself: its planner keeps values too
    assert b"film%20of%20a" in stored(postgres, "forgetful")
    assert main(["forget", "--lake", str(tmp_path / "lake"), "--video", "a" * 64, "--requested-by", "letter 17"]) == 0
    said = capfd.readouterr().err
    assert "and none has them" in said
    assert "are not reached: see docs" in said
    everything = stored(postgres, "forgetful")
    assert b"film%20of%20b" in everything
    assert b"film%20of%20a" not in everything
    assert b"a" * 16 not in everything
    assert main(["sql", "SELECT video_id[:1] AS v FROM frames", "--lake", str(tmp_path / "lake"), "--format", "csv"]) == 0
    assert capfd.readouterr().out.replace('"', "").split() == ["v", "b"]


def test_an_open_transaction_that_keeps_deleted_rows_is_named(postgres: Server, tmp_path: Path) -> None:
    text = postgres.catalog("read_long")
    make_lake(tmp_path / "lake", text)
    with open_lake(tmp_path / "lake", read_only=True) as reader:
        reader.query("BEGIN")
        reader.rows("FROM rejects")
        with pytest.raises(LakeError, match=r"open for longer than 0 s and keep what was deleted: process \d+ of .*--resume"):
            rewrite_tables(parse_catalog(text), patience_s=0.0)
        reader.query("ROLLBACK")
    rewrite_tables(parse_catalog(text))


def test_only_the_owner_of_a_database_forgets(postgres: Server) -> None:
    text = postgres.catalog("owned")
    postgres.tell("owned", "CREATE ROLE guest")
    refuse_unless_owner(parse_catalog(text))
    with pytest.raises(LakeError, match="belongs to endoforge, who alone can erase deleted rows; type this as that user"):
        refuse_unless_owner(parse_catalog(f"{text} options='-c role=guest'"))


@pytest.mark.parametrize(
    ("catalog", "said"),
    [
        ("ducklake:mysql:db=x", "a catalog of kind 'mysql' is not supported"),
        ("postgres:dbname=x", "a catalog of kind 'postgres' is not supported; give ducklake:postgres:"),
        ("ducklake:postgres:dbname=x password=hush", "take it out and put it into"),
        ("ducklake:postgres:postgresql://me:hush@db/x", "take it out and put it into"),
        ("ducklake:postgres:dbname", "is no connection string"),
        ("ducklake:postgres:dbname=x host=/nowhere", "see that the server runs"),
    ],
)
def test_other_catalogs_are_refused_in_one_sentence(
    catalog: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sql", "FROM funnel", "--lake", catalog]) == 1
    assert main(["init-lake", "--lake", "lake", "--catalog", catalog]) == 1
    printed = capfd.readouterr().err
    assert said in printed
    assert "hush" not in printed
    assert printed.count("\n") == 2
    assert os.listdir(tmp_path) == []


def test_what_does_not_belong_together_is_refused(postgres: Server, folder: Path, catalog: str, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="give each lake a database of its own"):
        make_lake(tmp_path / "other", catalog)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(LakeError, match="is not empty"):
        make_lake(tmp_path / "full", catalog)
    empty = postgres.catalog("empty")
    with pytest.raises(LakeError, match=r"there is no lake in ducklake:postgres:dbname=empty .*endoforge init-lake --lake FOLDER"):
        lake_folder(empty)
    assert make_lake(folder, catalog) == folder, "repeated, it changes nothing"
    moved = make_lake(tmp_path / "lake", empty).rename(tmp_path / "moved")
    with pytest.raises(LakeError, match="mount that folder on this machine"):
        lake_folder(empty)
    open_lake(moved, read_only=True).close()
    write_catalog_file(moved, parse_catalog(postgres.catalog("new")))
    with pytest.raises(LakeError, match=r"dbname=new .* cannot be used: .*does not exist"):
        open_lake(moved)
    (moved / "catalog.sqlite").touch()
    with pytest.raises(LakeError, match="has two catalogs"):
        open_lake(moved)
