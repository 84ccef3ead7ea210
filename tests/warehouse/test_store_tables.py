"""A lake whose tables lie in an S3 store: who writes and deletes there, what a killed writer leaves, and what leaves the store."""

import datetime
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.cli.cli import main
from tests.helpers.ingests import film, ingest
from tests.helpers.object_store import empty_bucket
from tests.helpers.rejects import add_reject
from warehouse.backup import copy_lake
from warehouse.catalog import catalog_of
from warehouse.data_path import WITNESS, claim
from warehouse.extensions import bare_connection
from warehouse.lake import Lake, LakeError, open_lake
from warehouse.maintenance import live_sizes, maintain
from warehouse.new_lake import make_lake
from warehouse.searched import searched_tables
from warehouse.store_backup import pull_lake, push_lake
from warehouse.table_store import data_below, table_files

pytest.importorskip("duckdb_extension_httpfs", reason="httpfs is not installed; pip install 'endoforge[s3]'")

URI = "s3://vault/lakes/one"
TABLES = f"{URI}/tables/"
NETWORK = ("s3", "s3a", "s3n", "gs", "gcs", "r2")
"""kinds of URI that httpfs takes to a server"""
NOTHING = datetime.timedelta(0)
SECRET = "s3cr3t-of-the-store"
WRITER = """
import sys
from tests.helpers.rejects import add_reject
from warehouse.lake import open_lake
with open_lake(sys.argv[1]) as lake:
    for number in range(3):
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
KILLED_WHILE_CLEARING = """
import os, shutil, sys
from flows.cli.cli import main
shutil.rmtree = lambda path: os._exit(9)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def vault(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with empty_bucket(s3_address, "vault") as store:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield store


@pytest.fixture
def lake(vault: Any, tmp_path: Path) -> Path:
    folder = make_lake(tmp_path / "lake", data=URI)
    with open_lake(folder) as made:
        for number in range(3):
            add_reject(made, f"{number}")
    return folder


def rejects(lake: Path) -> list[str]:
    with open_lake(lake, read_only=True) as opened:
        return [row["uri"] for row in opened.rows("SELECT uri FROM rejects ORDER BY uri")]


def objects(vault: Any) -> dict[str, bytes]:
    vault.invalidate_cache()
    return {name: vault.cat_file(name) for name in vault.find("vault")}


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)


def test_tables_lie_in_the_store_and_its_keys_nowhere(vault: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = tmp_path / "lake"
    command = ["init-lake", "--lake", str(lake), "--data-path", URI]
    assert main(command) == main(command) == 0, "interrupted, it may be typed again"
    with open_lake(lake) as made:
        add_reject(made, "one")
    assert main(["sql", "SELECT uri FROM rejects", "--lake", str(lake), "--format", "csv"]) == 0
    assert capsys.readouterr().out.endswith('"uri"\n"one"\n')
    assert main(["sql", "FROM duckdb_secrets()", "--lake", str(lake), "--format", "csv"]) == 0
    assert SECRET not in "".join(capsys.readouterr())
    assert list((lake / "tables").rglob("*")) == []
    assert len(table_files(TABLES)) == 2
    for path in lake.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert not [name for name in vault.find("vault") if SECRET.encode() in vault.cat_file(name)]


def test_a_question_reaches_nothing_else_of_the_network(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, open_lake(lake, read_only=True) as opened:
        here = f"127.0.0.1:{other.getsockname()[1]}"
        elsewhere = f"?s3_endpoint={here}&s3_use_ssl=false&s3_url_style=path"
        opened.query("SET http_retries = 0")
        for name in (f"http://{here}/x", "hf://datasets/a/b", *(f"{kind}://other/x{elsewhere}" for kind in NETWORK)):
            with pytest.raises(LakeError, match="a question reads files of this machine and of the lake alone"):
                opened.ask(f"FROM read_text('{name}')")
        with pytest.raises(duckdb.HTTPException, match="404"):  # by the store: what follows the name is a part of it
            opened.ask(f"FROM read_text('{TABLES}x{elsewhere}')")
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
        (tmp_path / "own.csv").write_text("uri\n1\n")
        assert opened.ask(f"SELECT uri FROM rejects JOIN '{tmp_path}/own.csv' USING (uri)").num_rows == 1
    assert main(["sql", "FROM read_text('s3://other/x')", "--lake", str(lake)]) == 1
    assert capsys.readouterr().err == (
        'endoforge: a question reads files of this machine and of the lake alone (Permission Error: Cannot access file "s3://other/x" - '
        "file system operations are disabled by configuration); fetch the file and name that\n"
    )


def test_two_processes_write_in_turn(lake: Path) -> None:
    writers = [start(WRITER, str(lake), name) for name in ("a", "b")]
    for writer in writers:
        writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert rejects(lake) == ["0", "1", "2", "a 0", "a 1", "a 2", "b 0", "b 1", "b 2"]


def test_what_a_killed_writer_leaves_goes_with_maintenance_and_nothing_else(lake: Path) -> None:
    with start(HOLDER, str(lake)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        holder.send_signal(signal.SIGKILL)
    with open_lake(lake) as opened:
        assert len(table_files(TABLES)) == len(live_sizes(opened)) + 1, "the killed writer's"
        maintain(opened, keep=NOTHING, grace=datetime.timedelta(days=1))
        assert len(table_files(TABLES)) > len(live_sizes(opened)), "somebody may still be at them"
        done = maintain(opened, keep=NOTHING, grace=NOTHING)
        assert (done.num_deleted, done.files_after) == (4, 2)
        assert table_files(TABLES) == live_sizes(opened)
    assert rejects(lake) == ["0", "1", "2"]


def test_a_copy_of_the_folder_reads_and_deletes_nothing(lake: Path, vault: Any, tmp_path: Path) -> None:
    copy = shutil.copytree(lake, tmp_path / "copy")
    assert rejects(copy) == ["0", "1", "2"]
    with open_lake(lake) as opened:
        add_reject(opened, "3")
    before = table_files(TABLES)
    with open_lake(copy) as other, pytest.raises(LakeError, match=r"belong to the lake in .*/lake, and the one in .*/copy may be a copy"):
        maintain(other, keep=NOTHING, grace=NOTHING)
    assert table_files(TABLES) == before
    moved = lake.rename(tmp_path / "moved")
    with open_lake(moved) as opened:
        maintain(opened, keep=NOTHING, grace=NOTHING)
    assert json.loads(vault.cat_file("vault/lakes/one/lake.json"))["folder"] == str(moved)
    assert rejects(moved) == ["0", "1", "2", "3"]


def test_tables_change_hands_only_when_a_person_says_so(lake: Path, vault: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    take_over = ["init-lake", "--data-path", URI, "--take-over", "--lake"]
    copy = shutil.copytree(lake, tmp_path / "copy")
    assert main([*take_over, str(copy)]) == 1, "the first is still there"
    assert f"the lake in {lake} is still there" in capsys.readouterr().err
    shutil.rmtree(lake)
    shutil.move(copy, lake)
    before = objects(vault)
    catalog = (lake / "catalog.sqlite").read_bytes()
    assert main(["maintain", "--lake", str(lake)]) == 1, "the same path, and copied file by file as to another machine"
    assert f"init-lake --lake {lake} --data-path {URI} --take-over" in capsys.readouterr().err
    assert objects(vault) == before
    assert (lake / "catalog.sqlite").read_bytes() == catalog
    assert main([*take_over, str(lake)]) == main(["maintain", "--lake", str(lake)]) == 0
    vault.rm_file("vault/lakes/one/lake.json")
    assert main(["maintain", "--lake", str(lake)]) == 1
    assert "bear no lake's name any more" in capsys.readouterr().err


def test_a_clone_of_a_disk_deletes_nothing_while_the_first_lake_is_seen(lake: Path, vault: Any, tmp_path: Path) -> None:
    """A snapshot of a file system has the times of change too: here the mark of a lake that has a clone's."""
    clone = shutil.copytree(lake, tmp_path / "clone")
    owner = f"folder of {(clone / WITNESS).stat().st_ctime_ns // 1000}"
    vault.pipe_file("vault/lakes/one/lake.json", json.dumps({"folder": str(lake), "owner": owner}).encode())
    with open_lake(clone) as other, pytest.raises(LakeError, match="may be a copy"):
        maintain(other, keep=NOTHING, grace=NOTHING)


def test_an_interrupted_restore_takes_no_other_lakes_tables(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_lake(lake, tmp_path / "backup")
    lake.rename(tmp_path / "elsewhere")  # as that of another machine, which has the same path
    lake.mkdir()
    (lake / ".catalog.sqlite.partial").touch()
    before = table_files(TABLES)
    assert main(["restore", str(tmp_path / "backup"), "--lake", str(lake), "--data-path", URI]) == 1
    assert "lakes/one has the tables of the lake in" in capsys.readouterr().err
    with pytest.raises(LakeError, match="belong to the lake in"):
        claim(TABLES, lake, catalog_of(lake))
    with open_lake(tmp_path / "elsewhere") as first:
        maintain(first, keep=NOTHING, grace=datetime.timedelta(days=1))
    assert table_files(TABLES).keys() >= before.keys()


def test_a_backup_has_the_files_of_the_tables_and_needs_no_store(lake: Path, vault: Any, tmp_path: Path) -> None:
    first = copy_lake(lake, tmp_path / "backup")
    with open_lake(lake) as opened:
        add_reject(opened, "3")
    assert copy_lake(lake, tmp_path / "backup").num_new == 1
    with open_lake(lake) as opened:
        maintain(opened, keep=NOTHING, grace=NOTHING)
    last = copy_lake(lake, tmp_path / "backup")
    before = table_files(TABLES).keys()
    assert (last.num_gone, last.num_rows) == (4, first.num_rows + 1)
    with open_lake(lake) as opened:
        add_reject(opened, "lost")
        (lost,) = table_files(TABLES).keys() - before
    vault.rm_file(f"vault/lakes/one/tables/{lost}")
    with pytest.raises(LakeError, match=f"{TABLES}{lost}, which the catalog names, is not there"):
        copy_lake(lake, tmp_path / "backup")
    vault.rm("vault/lakes", recursive=True)
    assert rejects(tmp_path / "backup") == ["0", "1", "2", "3"]
    assert main(["restore", str(tmp_path / "backup"), "--lake", str(tmp_path / "new")]) == 0
    with open_lake(tmp_path / "new") as again:
        add_reject(again, "4")
    assert rejects(tmp_path / "new") == ["0", "1", "2", "3", "4"]


def test_a_backup_in_a_store_has_them_too(lake: Path, vault: Any, tmp_path: Path) -> None:
    assert push_lake(lake, "s3://vault/backup").num_new >= 4
    with open_lake(lake) as opened:
        add_reject(opened, "3")
    assert push_lake(lake, "s3://vault/backup").num_new == 1
    vault.rm("vault/lakes", recursive=True)
    pull_lake("s3://vault/backup", tmp_path / "new")
    assert rejects(tmp_path / "new") == ["0", "1", "2", "3"]


def test_what_is_forgotten_leaves_the_store(vault: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = make_lake(tmp_path / "lake", data=URI)
    with open_lake(lake) as opened:
        ingest(opened, film(tmp_path / "one.mp4"), film(tmp_path / "two.mp4", seed=5))
        gone = opened.rows("SELECT DISTINCT video_id FROM videos WHERE contains(uri, 'one.mp4')")[0]["video_id"]
    copy = shutil.copytree(lake, tmp_path / "copy")
    command = ["forget", "--video", gone, "--requested-by", "letter 17", "--runner", "serial", "--lake"]
    before = objects(vault)
    assert main([*command, str(copy)]) == 1
    assert "--take-over" in capsys.readouterr().err
    assert objects(vault) == before
    assert not (copy / "forgotten").exists()
    assert main([*command, str(lake)]) == 0
    assert "versions that the tables' bucket keeps" in capsys.readouterr().err
    needles = (gone[:16].encode(), b"one.mp4")
    assert not [name for name, content in objects(vault).items() if any(needle in content for needle in needles)]
    with open_lake(lake) as opened:
        assert [row["uri"][-7:] for row in opened.rows("SELECT uri FROM videos")] == ["two.mp4"]
        assert table_files(TABLES) == live_sizes(opened)


def test_what_still_names_them_in_the_store_is_found(vault: Any, lake: Path) -> None:
    with open_lake(lake) as opened:
        add_reject(opened, "file:///in/needle.mp4")
    (found,) = searched_tables(TABLES, ["needle"])
    assert found.startswith(f"{TABLES}main/rejects/ducklake-")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("gs://vault/lake", "give an S3 bucket and a prefix"),
        ("s3://vault/a lake", "give an S3 bucket and a prefix"),
        ("s3://vault/../lake", "give an S3 bucket and a prefix"),
        ("s3://me:word@vault/lake", "holds a password"),
        ("lake", "give an S3 bucket and a prefix"),
    ],
)
def test_a_place_of_another_kind_is_refused(place: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["init-lake", "--lake", str(tmp_path / "lake"), "--data-path", place])
    assert why in " ".join(capsys.readouterr().err.replace("│", "").split())
    assert not (tmp_path / "lake").exists()


def test_a_place_that_is_taken_is_refused(lake: Path, vault: Any, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"lakes/one has the tables of the lake in .*/lake; give each lake a prefix of its own"):
        make_lake(tmp_path / "other", data=URI)
    vault.pipe_file("vault/photos/1.jpg", b"")
    with pytest.raises(LakeError, match=r"s3://vault/photos is not empty, it has vault/photos/1\.jpg"):
        make_lake(tmp_path / "other", data="s3://vault/photos")
    with pytest.raises(LakeError, match=f"with its tables in {TABLES}; give another folder"):
        make_lake(lake, data="s3://vault/elsewhere")
    vault.pipe_file("vault/copies/backup.json", b"{}")
    for inside, above in ((f"{URI}/tables/main", URI), ("s3://vault/copies/lake", "s3://vault/copies")):
        with pytest.raises(LakeError, match=f"lies below {above}, which is a lake's or a backup's own"):
            make_lake(tmp_path / "other", data=inside)
    assert not (tmp_path / "other").exists()


def test_plain_duckdb_reads_them_as_the_documentation_says(lake: Path, s3_address: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "lake.md").read_text()
    (snippet,) = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "CREATE SECRET" in code]
    for documented, here in {
        "store.hospital": s3_address.removeprefix("http://"),
        "USE_SSL true": "USE_SSL false",
        "/data/lake": str(lake),
        "lake.funnel": "lake.rejects",
    }.items():
        assert documented in snippet
        snippet = snippet.replace(documented, here)
    with bare_connection("ducklake", "sqlite_scanner", "httpfs") as plain:
        exec(snippet, {"lake": plain})
        assert plain.sql("SELECT count(*) FROM lake.rejects").fetchone() == (3,)


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that says when the keys of a role end; each has a number. botocore asks again for those that end within ten minutes."""
    counter, ends = tmp_path / "counter", tmp_path / "ends"
    counter.write_text("")
    ends.write_text((datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)).isoformat())
    program = tmp_path / "keys.py"
    program.write_text(
        f"""import json, pathlib
counter, ends = pathlib.Path({str(counter)!r}), pathlib.Path({str(ends)!r}).read_text()
counter.write_text(counter.read_text() + "x")
name = f"role-{{len(counter.read_text())}}"
print(json.dumps(dict(Version=1, AccessKeyId=name, SecretAccessKey="s", SessionToken="t", Expiration=ends)))
"""
    )
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    return ends


def test_keys_of_a_role_are_renewed(lake: Path, ends: Path) -> None:
    with open_lake(lake, read_only=True) as opened:
        assert key_of(opened) < key_of(opened)
        assert opened.rows("SELECT count(*) AS n FROM rejects") == [{"n": 3}]


def test_keys_that_a_rollback_took_away_are_given_again(lake: Path, ends: Path) -> None:
    with open_lake(lake) as opened:
        with pytest.raises(ZeroDivisionError), opened.transaction():
            ends.write_text((datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).isoformat())
            newest = key_of(opened)
            raise ZeroDivisionError
        assert key_of(opened) == newest


def key_of(lake: Lake) -> int:
    (row,) = lake.rows("SELECT regexp_extract(secret_string, 'key_id=role-(\\d+)', 1)::INT AS number FROM duckdb_secrets()")
    return int(row["number"])


def test_a_store_that_does_not_answer_is_one_sentence(
    lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert main(["sql", "FROM rejects", "--lake", str(lake)]) == 1
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    assert "the store of the lake's tables cannot be reached" in printed
    assert "check the network, the endpoint and the credentials" in printed


def test_a_restore_puts_the_tables_into_the_store_and_goes_on_where_it_was_cut(
    vault: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_lake(tmp_path / "old", create=True) as old:
        add_reject(old, "one")
    copy_lake(tmp_path / "old", tmp_path / "backup")
    push_lake(tmp_path / "old", "s3://vault/backup")
    for number, backup in enumerate((str(tmp_path / "backup"), "s3://vault/backup")):
        new, place = tmp_path / f"new {number}", f"s3://vault/lakes/{number}"
        command = ["restore", backup, "--lake", str(new), "--data-path", place]
        vault.pipe_file(f"vault/lakes/{number}/photo.jpg", b"")
        assert main(command) == 1
        assert "is not empty" in capsys.readouterr().err
        vault.rm_file(f"vault/lakes/{number}/photo.jpg")
        new.mkdir()
        (new / ".catalog.sqlite.partial").touch()  # as a restore leaves it that is cut off
        claim(data_below(place), new, catalog_of(new))
        vault.pipe_file(f"vault/lakes/{number}/tables/main/x.parquet", b"of before")
        assert main(command) == 0
        assert list((new / "tables").iterdir()) == []
        with open_lake(new) as opened:
            assert opened.data_path == data_below(place)
            add_reject(opened, "two")
            maintain(opened, keep=NOTHING, grace=NOTHING)
        assert rejects(new) == ["one", "two"]


def test_a_restore_that_is_killed_while_it_clears_the_folder_goes_on(vault: Any, lake: Path, tmp_path: Path) -> None:
    copy_lake(lake, tmp_path / "backup")
    push_lake(lake, "s3://vault/backup")
    for number, backup in enumerate((str(tmp_path / "backup"), "s3://vault/backup")):
        new = tmp_path / f"new {number}"
        command = ["restore", backup, "--lake", str(new), "--data-path", f"s3://vault/lakes/new-{number}"]
        with start(KILLED_WHILE_CLEARING, *command) as killed:
            assert killed.wait(timeout=300) == 9
        assert list((new / "tables").rglob("*.parquet"))
        assert main(command) == 0
        assert list((new / "tables").iterdir()) == []
        assert rejects(new) == ["0", "1", "2"]
