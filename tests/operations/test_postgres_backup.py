"""A lake goes from a SQLite catalog to Postgres and back by backup and restore, while somebody writes to it."""

import os
import re
import tarfile
import threading
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from flows.cli.cli import main
from tests.helpers.postgres import Server, binaries
from tests.helpers.rejects import add_reject
from warehouse.backup import copy_lake
from warehouse.catalog import LakeError, parse_catalog
from warehouse.extensions import bare_connection
from warehouse.lake import Lake, open_lake
from warehouse.new_lake import make_lake
from warehouse.schema import TABLES
from warehouse.snapshots import list_snapshots
from warehouse.views import VIEWS

pytestmark = pytest.mark.skipif(binaries() is None, reason="no Postgres server is installed; apt-get install postgresql")

STORED = Path(__file__).parents[1] / "warehouse" / "lakes" / "0.1.0.tar.xz"


SOME_VIEWS = ("current_frames", "funnel", "models")


def answers(lake: Lake, views: Iterable[str] = VIEWS) -> dict[str, list[str]]:
    """What each table and these saved queries answer."""
    return {name: sorted(map(str, lake.rows(f'FROM "{name}"'))) for name in (*TABLES, *views)}


def rows_of(table: str, **values: object) -> pa.Table:
    return pa.Table.from_pylist([dict.fromkeys(TABLES[table].names) | values], schema=TABLES[table])


def write_until(done: threading.Event, root: Path) -> None:
    """Commits of a row in each of two tables."""
    with open_lake(root) as lake:
        for number in range(10_000):
            with lake.transaction():
                lake.append("rejects", rows_of("rejects", uri=f"during {number}", reason="empty"))
                lake.append("files", rows_of("files", uri=f"during {number}", version="1"))
            if done.is_set():
                return


@pytest.fixture(scope="module")
def moved(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """A lake of phantom videos that was made in SQLite and restored into Postgres, and what the first one answers."""
    folder = tmp_path_factory.mktemp("moved")
    with tarfile.open(STORED) as tar:
        tar.extractall(folder, filter="data")
    (folder / "lake" / "forgotten").mkdir(mode=0o700)
    (folder / "lake" / "forgotten" / "hashes.json").touch(mode=0o600)
    with open_lake(folder / "lake") as lake:
        before = answers(lake)
    catalog = postgres.catalog("moved")
    assert main(["backup", str(folder / "copy"), "--lake", str(folder / "lake")]) == 0
    assert main(["restore", str(folder / "copy"), "--lake", str(folder / "shared"), "--catalog", catalog]) == 0
    return folder / "shared", before


def test_a_lake_moves_from_sqlite_to_postgres(moved: tuple[Path, dict[str, list[str]]]) -> None:
    root, before = moved
    assert sorted(name for name in os.listdir(root) if "catalog" in name) == ["catalog.toml"]
    with open_lake(root, read_only=True) as lake:
        assert lake.catalog.kind == "postgres"
        assert answers(lake) == before
    assert main(["verify", "set", "--lake", str(root), "--runner", "serial"]) == 0


def test_a_backup_during_commits_is_one_state_of_the_lake(moved: tuple[Path, dict[str, list[str]]], tmp_path: Path) -> None:
    root, _ = moved
    done = threading.Event()
    writer = threading.Thread(target=write_until, args=(done, root), daemon=True)
    writer.start()
    while len(list((root / "tables" / "main" / "files").glob("*.parquet"))) < 3:
        assert writer.is_alive()
    assert main(["backup", str(tmp_path / "copy"), "--lake", str(root)]) == 0
    done.set()
    writer.join(timeout=60)
    assert not writer.is_alive()
    assert (tmp_path / "copy" / "catalog.sqlite").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "copy" / "catalog.toml").exists()
    assert main(["restore", str(tmp_path / "copy"), "--lake", str(tmp_path / "back")]) == 0
    with open_lake(tmp_path / "back") as back:
        *earlier, last = list_snapshots(back)
        found = answers(back, SOME_VIEWS)
        both = back.rows(
            "SELECT (SELECT count(*) FROM rejects) AS rejects, (SELECT count(*) FROM files WHERE uri LIKE 'during %') AS files"
        )
        add_reject(back, "after")
    with open_lake(root, read_only=True, at=str(last.version)) as then:
        assert answers(then, SOME_VIEWS) == found
    with open_lake(root, read_only=True) as now:
        assert [*earlier, last] == list_snapshots(now)[: len(earlier) + 1]
    assert both[0]["rejects"] == both[0]["files"] >= 2
    assert (tmp_path / "back" / "forgotten").stat().st_mode & 0o777 == 0o700
    assert main(["verify", "set", "--lake", str(tmp_path / "back"), "--runner", "serial"]) == 0
    second = copy_lake(root, tmp_path / "copy")
    assert 0 < second.num_new < second.num_files / 2, "typed again, only what is new is copied"


def write_elsewhere(target: str) -> None:
    """What another program does that lets DuckLake keep rows in the catalog."""
    with bare_connection("ducklake", "sqlite_scanner", "postgres_scanner") as plain:
        plain.execute(f"ATTACH 'ducklake:{target}' AS lake")
        plain.execute("INSERT INTO lake.rejects (uri, detail) VALUES ('elsewhere', 'näher')")
        plain.execute("DELETE FROM lake.rejects WHERE uri = '0'")


def test_rows_that_another_program_left_in_the_catalog_come_along(postgres: Server, tmp_path: Path) -> None:
    make_lake(tmp_path / "lake", postgres.catalog("inlined"))
    with open_lake(tmp_path / "lake") as lake:
        for number in range(2):
            add_reject(lake, str(number))
        target = lake.catalog.target
    write_elsewhere(target)
    copied = copy_lake(tmp_path / "lake", tmp_path / "copy")
    write_elsewhere(f"sqlite:{tmp_path / 'copy' / 'catalog.sqlite'}")
    database = parse_catalog(postgres.catalog("inlined_again"))
    for _ in range(2):
        restored = copy_lake(tmp_path / "copy", tmp_path / "back", is_restore=True, database=database)
        assert restored.num_rows == copied.num_rows + 1
        with open_lake(tmp_path / "back", read_only=True) as back:
            rows = back.rows("SELECT uri, detail FROM rejects ORDER BY uri")
        assert rows == [{"uri": "1", "detail": None}, *[{"uri": "elsewhere", "detail": "näher"}] * 2]
        # a kill between the database and the file that names it leaves this; the same command goes on
        (tmp_path / "back" / "catalog.toml").unlink()
        (tmp_path / "back" / ".catalog.sqlite.partial").touch()


def test_what_is_in_use_is_not_restored_into(
    moved: tuple[Path, dict[str, list[str]]], postgres: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    open_lake(tmp_path / "lake", create=True).close()
    copy_lake(tmp_path / "lake", tmp_path / "copy")
    empty, used = postgres.catalog("empty"), postgres.catalog("used")
    postgres.tell("used", "CREATE TABLE theirs (a integer)")
    root, _ = moved
    with open_lake(root, read_only=True) as lake:
        taken = lake.catalog.text
    for lake_option, catalog, message in (
        (str(tmp_path / "new"), taken, f"is the catalog of the lake in {root}; give each lake a database of its own"),
        (str(tmp_path / "new"), used, "dbname=used .* has tables in it; give an empty one"),
        (str(tmp_path / "new"), "sqlite:x", "is not supported"),
        (str(root), empty, "shared is not empty; give a new folder"),
        (empty, empty, "--lake names a catalog, expected the folder of the new lake"),
    ):
        assert main(["restore", str(tmp_path / "copy"), "--lake", lake_option, "--catalog", catalog]) == 1
        said = capfd.readouterr().err
        assert re.search(message, said), said
        assert not (tmp_path / "new").exists()
    assert postgres.tell("empty", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"
    with pytest.raises(LakeError, match="there is no lake in"):
        copy_lake(tmp_path / "nowhere", tmp_path / "new")
