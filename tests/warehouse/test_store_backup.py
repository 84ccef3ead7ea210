"""A lake's copy in an object store: what arrives, what is sent again, and what an interruption leaves."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.cli.cli import main
from tests.helpers.object_store import empty_bucket
from tests.helpers.rejects import add_reject
from warehouse.lake import LakeError, open_lake
from warehouse.maintenance import live_files
from warehouse.store_backup import pull_lake, push_lake

URI = "s3://vault/lakes/one"


@pytest.fixture
def vault(s3_address: str) -> Iterator[Any]:
    with empty_bucket(s3_address, "vault") as store:
        yield store


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    with open_lake(tmp_path / "lake", create=True) as made:
        for number in range(3):
            add_reject(made, f"{number}")
    (made.root / "frames").mkdir()
    (made.root / "frames" / "secret.tar").write_bytes(b"pixels")
    (made.root / "frames" / "secret.tar").chmod(0o600)
    return made.root


def add(lake: Path, name: str) -> None:
    with open_lake(lake) as opened:
        add_reject(opened, name)


def num_rejects(lake: Path) -> int:
    with open_lake(lake, read_only=True) as opened:
        return int(opened.rows("SELECT count(*) AS n FROM rejects")[0]["n"])


def test_a_lake_comes_back_from_a_store_with_its_files_modes_and_answers(vault: Any, lake: Path, tmp_path: Path) -> None:
    assert main(["backup", URI, "--lake", str(lake)]) == 0
    before = {path.relative_to(lake): path.read_bytes() for path in (lake / "frames").rglob("*") if path.is_file()}
    shutil.rmtree(lake)
    assert main(["restore", URI, "--lake", str(tmp_path / "new")]) == 0
    assert {path: (tmp_path / "new" / path).read_bytes() for path in before} == before
    assert (tmp_path / "new" / "frames" / "secret.tar").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new" / "frames").stat().st_mode & 0o777 == 0o700
    with open_lake(tmp_path / "new") as again:
        assert again.rows("SELECT uri FROM rejects ORDER BY uri") == [{"uri": "0"}, {"uri": "1"}, {"uri": "2"}]
        assert all(path.is_relative_to(tmp_path / "new") for path in live_files(again))


def test_only_what_is_new_is_sent_and_what_the_lake_has_lost_goes(vault: Any, lake: Path) -> None:
    first = push_lake(lake, URI)
    assert first.num_new == first.num_files > 3
    assert push_lake(lake, URI).num_new == 0
    add(lake, "new")
    (lake / "frames" / "secret.tar").unlink()
    second = push_lake(lake, URI)
    assert (second.num_new, second.num_gone, second.num_rows) == (1, 1, first.num_rows + 1)
    objects = vault.find("vault/lakes/one")
    assert not [name for name in objects if "secret" in name]
    assert len([name for name in objects if "/catalog-" in name]) == 1


def interrupt(path: Path) -> None:
    if path.name == "z.tar":
        raise KeyboardInterrupt(path)


def test_an_interrupted_copy_leaves_the_earlier_one_and_the_next_sends_only_the_rest(vault: Any, lake: Path, tmp_path: Path) -> None:
    (lake / "frames" / "z.tar").write_bytes(b"last")
    push_lake(lake, URI)
    add(lake, "new")
    (lake / "frames" / "secret.tar").write_bytes(b"changed")
    with pytest.raises(KeyboardInterrupt):
        push_lake(lake, URI, seen=interrupt)
    with pytest.raises(KeyboardInterrupt):
        pull_lake(URI, tmp_path / "new", seen=interrupt)
    assert pull_lake(URI, tmp_path / "new").num_files > 3
    assert num_rejects(tmp_path / "new") == 3
    assert (tmp_path / "new" / "frames" / "secret.tar").read_bytes() == b"pixels"
    assert push_lake(lake, URI).num_new == 1, "the table's new file; the changed one had arrived"
    pull_lake(URI, tmp_path / "newer")
    assert num_rejects(tmp_path / "newer") == 4
    assert (tmp_path / "newer" / "frames" / "secret.tar").read_bytes() == b"changed"


def test_what_is_forgotten_goes_whatever_interrupted_copies_have_left(vault: Any, lake: Path, tmp_path: Path) -> None:
    (lake / "frames" / "patient.tar").write_bytes(b"face")
    (lake / "frames" / "z.tar").write_bytes(b"last")
    with pytest.raises(KeyboardInterrupt):
        push_lake(lake, URI, seen=interrupt)
    assert [name for name in vault.find("vault/lakes/one") if "patient" in name]
    (lake / "frames" / "patient.tar").unlink()
    push_lake(lake, URI)
    assert not [name for name in vault.find("vault/lakes/one") if "patient" in name]


def test_a_restore_of_a_backup_that_is_replaced_meanwhile_ends_as_the_newer(vault: Any, lake: Path, tmp_path: Path) -> None:
    (lake / "frames" / "z.tar").write_bytes(b"last")
    push_lake(lake, URI)
    with pytest.raises(KeyboardInterrupt):
        pull_lake(URI, tmp_path / "new", seen=interrupt)
    assert (tmp_path / "new" / "frames" / "secret.tar").exists()
    (lake / "frames" / "secret.tar").unlink()
    push_lake(lake, URI)
    pull_lake(URI, tmp_path / "new")
    assert not (tmp_path / "new" / "frames" / "secret.tar").exists()


def test_a_restore_that_ends_with_the_catalog_goes_on(vault: Any, lake: Path, tmp_path: Path) -> None:
    push_lake(lake, URI)
    (name,) = (name for name in vault.find("vault/lakes/one") if "/catalog-" in name)
    catalog = vault.cat_file(name)
    vault.rm_file(name)
    with pytest.raises(LakeError, match="which is not there"):
        pull_lake(URI, tmp_path / "new")
    vault.pipe_file(name, catalog)
    pull_lake(URI, tmp_path / "new")
    assert num_rejects(tmp_path / "new") == 3


def test_only_the_named_file_goes_where_its_name_is_a_pattern(vault: Any, lake: Path, tmp_path: Path) -> None:
    (lake / "frames" / "a[1].csv").touch()
    (lake / "frames" / "a1.csv").touch()
    push_lake(lake, URI)
    (lake / "frames" / "a[1].csv").unlink()
    push_lake(lake, URI)
    pull_lake(URI, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new" / "frames").glob("*.csv")) == ["a1.csv"]


def test_places_that_are_no_backup_are_refused(vault: Any, lake: Path, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="there is no backup at s3://vault/lakes/one"):
        pull_lake(URI, tmp_path / "new")
    vault.pipe_file("vault/lakes/one/photo.jpg", b"")
    with pytest.raises(LakeError, match=r"holds something else, such as .*photo\.jpg"):
        push_lake(lake, URI)
    other = shutil.copytree(lake, tmp_path / "other")
    push_lake(other, "s3://vault/other")
    with pytest.raises(LakeError, match=r"is a backup of .*other, not of .*lake"):
        push_lake(lake, "s3://vault/other")
    index = json.loads(vault.cat_file("vault/other/backup.json"))
    vault.pipe_file("vault/other/backup.json", json.dumps({**index, "files": {"../outside": [0, 0, 0o600, "files/x"]}}).encode())
    with pytest.raises(LakeError, match=r"'\.\./outside', which lies outside a lake"):
        pull_lake("s3://vault/other", tmp_path / "new")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("s3://user:word@vault/x", "holds a password"),
        ("nothing://vault/x", "no kind of file system"),
        ("http://vault/x", "a URI; give a folder"),
        ("file:///vault/x", "a URI; give a folder"),
        ("memory://vault/x", "on this machine or in memory; give a folder"),
    ],
)
@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_uri_of_no_object_store_is_refused(command: str, place: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, place, "--lake", "lake"])
    assert why in " ".join(capsys.readouterr().err.split())


def test_a_lost_object_is_named_and_sent_again(vault: Any, lake: Path, tmp_path: Path) -> None:
    push_lake(lake, URI)
    (lost,) = (name for name in vault.find("vault/lakes/one") if "secret.tar" in name)
    vault.rm_file(lost)
    with pytest.raises(LakeError, match=r"secret\.tar.*, which is not there"):
        pull_lake(URI, tmp_path / "new")
    assert push_lake(lake, URI).num_new == 1
    pull_lake(URI, tmp_path / "new")
    assert (tmp_path / "new" / "frames" / "secret.tar").read_bytes() == b"pixels"
