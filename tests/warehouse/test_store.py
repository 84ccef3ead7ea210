import os
from pathlib import Path

import pyarrow as pa
import pytest

from tests.helpers.rows import sparse_row
from warehouse.lake import open_lake
from warehouse.schema import TABLES
from warehouse.store import atomic_file, canonical_json, content_id, file_sha256, remove_abandoned, write_json, write_parquet


def test_a_file_that_fails_half_way_leaves_the_old_one_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "a b'c\nd.txt"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"), atomic_file(path) as file:
        file.write(b"new")
        raise RuntimeError("half way")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_file_appears_whole_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "made" / "here.bin"
    with atomic_file(path) as file:
        file.write(b"abc")
        assert not path.exists()
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_a_killed_writer_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    old, young, other = tmp_path / "a" / ".x.tar.abc.tmp", tmp_path / "a" / ".y.tar.def.tmp", tmp_path / "a" / "notes.tmp"
    spilled = tmp_path / "a" / "duckdb_temp_storage_S32K-0.tmp"
    for path in (old, young, other, spilled):
        path.touch()
    for path in (old, other, spilled):
        os.utime(path, (1e9, 1e9))
    assert remove_abandoned(tmp_path, older_than_s=3600) == 2
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".y.tar.def.tmp", "notes.tmp"]
    assert remove_abandoned(tmp_path / "nowhere", older_than_s=0) == 0


def test_one_value_has_one_spelling() -> None:
    assert canonical_json({"b": (1, 2), "a": Path("x/y")}) == '{"a":"x/y","b":[1,2]}'
    assert content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})


def test_a_value_without_a_spelling_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no canonical JSON form"):
        canonical_json({"a": {1}})


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o022, 0o644), (0o002, 0o664)])
def test_new_files_are_open_to_whom_the_umask_leaves_them_open(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", {})
        write_parquet(tmp_path / "a.parquet", pa.table({"x": [1]}))
        with open_lake(tmp_path / "lake", create=True) as lake:
            lake.append("shards", pa.Table.from_pylist([sparse_row("shards", shard="s")], schema=TABLES["shards"]))
    finally:
        os.umask(before)
    made = [tmp_path / "a.json", tmp_path / "a.parquet", *(path for path in (tmp_path / "lake").rglob("*") if path.is_file())]
    assert len(made) >= 5
    assert {path.name: path.stat().st_mode & 0o777 & ~mode for path in made if path.stat().st_mode & 0o777 & ~mode} == {}
    assert (made[0].stat().st_mode & 0o777, made[1].stat().st_mode & 0o777) == (mode, mode)
