"""Snapshots, maintenance, backup and restore of a lake of many small commits."""

import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from flows.stages import run_maintain
from flows.upkeep_config import UpkeepConfig
from warehouse.backup import copy_lake
from warehouse.lake import Lake, LakeError, extension_path, open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.maintenance import live_files, maintain
from warehouse.schema import TABLES
from warehouse.snapshots import SnapshotError, list_snapshots, read_tags, remove_tag, tag_snapshot
from warehouse.views import VIEWS

NOTHING = datetime.timedelta(0)
DAY = datetime.timedelta(days=1)


def add_reject(lake: Lake, name: str) -> None:
    row: dict[str, object] = dict.fromkeys(TABLES["rejects"].names) | {"uri": name, "reason": "empty"}
    with lake.transaction():
        lake.append("rejects", pa.Table.from_pylist([row], schema=TABLES["rejects"]))


def parquet_files(lake: Lake) -> set[Path]:
    return set((lake.root / "tables").rglob("*.parquet"))


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with open_lake(tmp_path_factory.mktemp("made") / "lake", create=True) as made:
        for number in range(30):
            add_reject(made, f"file:///{number}.mp4")
    return made.root


@pytest.fixture
def lake(thirty: Path, tmp_path: Path) -> Lake:
    return open_lake(shutil.copytree(thirty, tmp_path / "lake"))


def test_a_run_names_its_snapshot(tmp_path: Path) -> None:
    with open_lake(tmp_path / "lake", create=True) as lake:
        plan = plan_run(stage="embed", version=1, config={"a": 1}, inputs=[])
        with record_run(lake, plan, RunContext(runner="serial")):
            pass
        last = list_snapshots(lake)[-1]
        assert (last.message, last.changes) == (plan.run_id, "runs")


def test_thirty_files_become_one_and_every_row_stays(lake: Lake) -> None:
    assert len(parquet_files(lake)) == 31
    killed = lake.root / "tables" / "main" / "rejects" / "ducklake-of-a-killed-writer.parquet"
    shutil.copyfile(next(iter((lake.root / "tables" / "main" / "rejects").glob("*.parquet"))), killed)
    done = maintain(lake, keep=NOTHING, grace=DAY)
    assert (done.num_kept, done.num_merged, done.num_deleted, done.num_waiting) == (1, 29, 0, 30)
    assert killed.exists(), "a writer may still be at it"
    done = maintain(lake, keep=NOTHING, grace=NOTHING)
    assert (done.num_deleted, done.num_waiting, done.files_after) == (31, 0, 2)
    assert not killed.exists()
    assert parquet_files(lake) == live_files(lake)
    assert [row["uri"] for row in lake.rows("SELECT uri FROM rejects ORDER BY uri LIMIT 2")] == ["file:///0.mp4", "file:///1.mp4"]
    assert lake.rows("SELECT count(*) AS n FROM rejects") == [{"n": 30}]


def test_views_that_a_lake_lacks_come_with_maintenance(lake: Lake) -> None:
    with lake.transaction():
        lake.query("DROP VIEW exports")
    run_maintain(lake, UpkeepConfig(), dry_run=True)
    assert lake.rows("SELECT 1 FROM duckdb_views() WHERE view_name = 'exports'") == []
    run_maintain(lake, UpkeepConfig())
    assert lake.rows("FROM exports") == []


def test_rows_that_were_taken_back_leave_the_disk(lake: Lake) -> None:
    with lake.transaction():
        lake.remove("rejects", pa.table({"uri": ["file:///7.mp4"]}))
    maintain(lake, keep=NOTHING, grace=NOTHING)
    stored = [
        duckdb.sql("SELECT uri FROM read_parquet($1)", params=[str(path)]).fetchall()
        for path in parquet_files(lake)
        if "rejects" in str(path)
    ]
    assert ("file:///7.mp4",) not in stored[0]
    assert [len(rows) for rows in stored] == [29]


def test_a_dry_run_changes_nothing(lake: Lake) -> None:
    before = {path: path.stat().st_mtime_ns for path in lake.root.rglob("*") if path.is_file()}
    assert maintain(lake, keep=NOTHING, grace=NOTHING, dry_run=True).num_expired == 31
    assert {path: path.stat().st_mtime_ns for path in lake.root.rglob("*") if path.is_file()} == before


def test_a_tag_keeps_a_snapshot_and_everything_it_reads(lake: Lake) -> None:
    version = list_snapshots(lake)[9].version
    assert tag_snapshot(lake, "paper", version) == version
    maintain(lake, keep=NOTHING, grace=NOTHING)
    assert list_snapshots(lake)[0].tags == ("paper",)
    lake.close()
    with open_lake(lake.root, at="paper") as then:
        assert then.rows("SELECT count(*) AS n FROM rejects") == [{"n": 8}]
        with pytest.raises(duckdb.Error, match="read-only"):
            add_reject(then, "file:///new.mp4")
    with pytest.raises(LakeError, match=f"has no state '{version + 1}' any more"):
        open_lake(lake.root, at=str(version + 1))
    with pytest.raises(SnapshotError, match=r"'papers' is no version, tag or time; .*\(paper\)"):
        open_lake(lake.root, at="papers")


def test_the_state_at_a_time(lake: Lake) -> None:
    made_at = list_snapshots(lake)[4].made_at
    lake.close()
    with open_lake(lake.root, at=made_at.isoformat()) as then:
        assert then.rows("SELECT count(*) AS n FROM rejects") == [{"n": 3}]


def test_snapshots_younger_than_the_time_kept_stay(lake: Lake) -> None:
    assert maintain(lake, keep=DAY, grace=NOTHING).num_expired == 0


def test_bad_tags_are_refused(lake: Lake) -> None:
    with pytest.raises(SnapshotError, match="tag '7' is no name"):
        tag_snapshot(lake, "7")
    with pytest.raises(SnapshotError, match="there is no snapshot 999"):
        tag_snapshot(lake, "a", 999)
    tag_snapshot(lake, "a", 5)
    with pytest.raises(SnapshotError, match="tag 'a' names snapshot 5 already"):
        tag_snapshot(lake, "a", 6)
    with pytest.raises(SnapshotError, match="there is no tag 'b'; the tags are a"):
        remove_tag(lake, "b")
    remove_tag(lake, "a")
    assert read_tags(lake.root) == {}


def test_a_backup_holds_what_the_lake_holds_now_and_restores_elsewhere(lake: Lake, tmp_path: Path) -> None:
    shard = lake.root / "shards" / "colon" / "colon-000000.tar"
    secret = lake.root / "frames" / "private" / "v.pack"
    for path, mode in ((shard, 0o644), (secret, 0o600)):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"pixels")
        path.chmod(mode)
    first = copy_lake(lake.root, tmp_path / "copy")
    assert (first.num_new, first.num_gone, first.num_rows) == (33, 0, 31)
    secret.unlink()
    add_reject(lake, "file:///new.mp4")
    maintain(lake, keep=NOTHING, grace=NOTHING)
    second = copy_lake(lake.root, tmp_path / "copy")
    assert (second.num_files, second.num_new, second.num_gone, second.num_rows) == (3, 1, 31, 32)
    assert not (tmp_path / "copy" / "frames").exists(), "what the lake has forgotten leaves the copy"
    shutil.rmtree(lake.root)
    restored = copy_lake(tmp_path / "copy", tmp_path / "restored", is_restore=True)
    assert restored.num_rows == 32
    with open_lake(tmp_path / "restored") as again:
        for name in VIEWS:
            again.query(f"FROM {name}")
        add_reject(again, "file:///newer.mp4")


def test_plain_duckdb_reads_a_restored_lake_and_not_the_first_one(lake: Lake, tmp_path: Path) -> None:
    lake.close()
    copy_lake(lake.root, tmp_path / "copy")
    shutil.rmtree(lake.root)
    plain = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("ducklake", "sqlite_scanner"):
        plain.execute(f"LOAD '{extension_path(name)}'")
    plain.execute(f"ATTACH 'ducklake:sqlite:{tmp_path / 'copy' / 'catalog.sqlite'}' AS lake (READ_ONLY)")
    assert plain.execute("SELECT count(*) FROM lake.rejects").fetchall() == [(30,)]


def test_a_killed_backup_leaves_the_earlier_one_whole(lake: Lake, tmp_path: Path) -> None:
    copy_lake(lake.root, tmp_path / "copy")
    add_reject(lake, "file:///new.mp4")
    script = (
        "import os, sys; from pathlib import Path; from warehouse.backup import copy_lake\n"
        "copy_lake(Path(sys.argv[1]), Path(sys.argv[2]), seen=lambda path: os._exit(9))"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    killed = subprocess.run([sys.executable, "-c", script, str(lake.root), str(tmp_path / "copy")], env=environment, check=False)
    assert killed.returncode == 9
    with open_lake(tmp_path / "copy", read_only=True) as copy:
        assert copy.rows("SELECT count(*) AS n FROM rejects") == [{"n": 30}]
    assert copy_lake(lake.root, tmp_path / "copy").num_rows == 32


def test_a_killed_first_backup_can_be_repeated(lake: Lake, tmp_path: Path) -> None:
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt(path)

    with pytest.raises(KeyboardInterrupt):
        copy_lake(lake.root, tmp_path / "copy", seen=interrupt)
    assert (tmp_path / "copy" / ".catalog.sqlite.partial").stat().st_mode & 0o777 == 0o600
    assert copy_lake(lake.root, tmp_path / "copy").num_rows == 31


def add_pack(lake: Lake, name: str) -> Path:
    path = lake.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"pixels")
    row: dict[str, object] = dict.fromkeys(TABLES["packs"].names) | {"path": name}
    with lake.transaction():
        lake.append("packs", pa.Table.from_pylist([row], schema=TABLES["packs"]))
    return path


def test_a_backup_follows_links_to_a_larger_disk(lake: Lake, tmp_path: Path) -> None:
    pack = add_pack(lake, "packs/v.tar")
    copy_lake(lake.root, tmp_path / "copy")
    shutil.move(lake.root / "packs", tmp_path / "larger")
    (lake.root / "packs").symlink_to(tmp_path / "larger")
    (tmp_path / "note.txt").write_text("seen")
    (lake.root / "note.txt").symlink_to(tmp_path / "note.txt")
    assert copy_lake(lake.root, tmp_path / "copy").num_gone == 0
    assert (tmp_path / "copy" / "packs" / "v.tar").read_bytes() == pack.read_bytes()
    assert not (tmp_path / "copy" / "note.txt").is_symlink()
    assert (tmp_path / "copy" / "note.txt").read_text() == "seen"
    (lake.root / "circle").symlink_to(lake.root)
    with pytest.raises(LakeError, match=r"circle is a link to .*in which it lies itself"):
        copy_lake(lake.root, tmp_path / "copy")
    (lake.root / "circle").unlink()
    (tmp_path / "larger").rename(tmp_path / "unmounted")
    with pytest.raises(LakeError, match=r"packs is a link to .*larger, which is not there"):
        copy_lake(lake.root, tmp_path / "copy")
    assert (tmp_path / "copy" / "packs" / "v.tar").exists()


def test_a_lake_that_lost_files_does_not_take_them_from_its_backup(lake: Lake, tmp_path: Path) -> None:
    pack, table = add_pack(lake, "packs/v.tar"), min(parquet_files(lake))
    copy_lake(lake.root, tmp_path / "copy")
    before = sorted(path for path in (tmp_path / "copy").rglob("*") if path.is_file())
    for lost, message in ((table, "1 files of the tables of .* are not there"), (pack, "packs names, is not in the lake any more")):
        kept = lost.read_bytes()
        lost.unlink()
        with pytest.raises(LakeError, match=message):
            copy_lake(lake.root, tmp_path / "copy")
        assert set(before) <= set((tmp_path / "copy").rglob("*"))
        lost.write_bytes(kept)
    copy_lake(lake.root, tmp_path / "copy")
    with open_lake(tmp_path / "copy", read_only=True) as copy:
        assert copy.rows("SELECT count(*) AS n FROM rejects") == [{"n": 30}]


def test_folders_of_a_backup_keep_their_modes(lake: Lake, tmp_path: Path) -> None:
    (lake.root / "forgotten").mkdir(mode=0o700)
    (lake.root / "forgotten" / "record.json").touch(mode=0o600)
    lake.root.chmod(0o750)
    (lake.root / "catalog.sqlite").chmod(0o640)
    copy_lake(lake.root, tmp_path / "copy")
    modes = {
        name: (tmp_path / "copy" / name).stat().st_mode & 0o777 for name in ("", "forgotten", "forgotten/record.json", "catalog.sqlite")
    }
    assert modes == {"": 0o750, "forgotten": 0o700, "forgotten/record.json": 0o600, "catalog.sqlite": 0o640}


def test_folders_that_cannot_be_a_backup_are_refused(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    with pytest.raises(LakeError, match="full is not empty and is no backup"):
        copy_lake(lake.root, tmp_path / "full")
    with pytest.raises(LakeError, match="lie in each other"):
        copy_lake(lake.root, lake.root / "backup")
    with pytest.raises(LakeError, match="there is no lake in"):
        copy_lake(tmp_path / "full", tmp_path / "new")
    copy_lake(lake.root, tmp_path / "copy")
    with open_lake(tmp_path / "other", create=True):
        pass
    with pytest.raises(LakeError, match=r"copy is a backup of .*lake, not of .*other"):
        copy_lake(tmp_path / "other", tmp_path / "copy")
    with pytest.raises(LakeError, match="copy is not empty; give a new folder"):
        copy_lake(lake.root, tmp_path / "copy", is_restore=True)
    assert (tmp_path / "full" / "thesis.doc").exists()
