"""A dataset sent to an object store: what arrives, what is sent again, and what is refused."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from flows.cli.cli import main
from pretrain.config import DataConfig
from pretrain.reader import ShardReader
from tests.helpers.object_store import empty_bucket
from warehouse.lake import open_lake
from warehouse.locks import held_lock
from warehouse.traces import find_traces, subject_of

URI = "s3://ward/first"


@pytest.fixture
def store(s3_address: str) -> Iterator[Any]:
    with empty_bucket(s3_address, "ward") as filesystem:
        yield filesystem


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of an earlier release, with a dataset of 8 images."""
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(Path(__file__).parents[2] / "warehouse" / "lakes" / "0.1.0.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder / "lake"


def publish(lake: Path, uri: str = URI) -> int:
    return main(["publish", "set", uri, "--lake", str(lake), "--runner", "serial"])


def test_all_files_arrive_and_training_reads_the_shards_there(store: Any, lake: Path) -> None:
    folder = lake / "shards" / "set"
    assert publish(lake) == 0
    sent = {path.removeprefix("ward/first/"): store.cat_file(path) for path in store.find("ward/first")}
    assert sent == {path.name: path.read_bytes() for path in folder.iterdir()}
    there, here = ShardReader(folder, DataConfig(shards=URI)), ShardReader(folder)
    assert [there.read(sample) for sample in range(8)] == [here.read(sample) for sample in range(8)]
    with open_lake(lake, read_only=True) as opened:
        assert opened.rows("SELECT what, path FROM exports") == [{"what": "set", "path": URI}]


def test_an_interrupted_publication_sends_the_rest(store: Any, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish(lake) == 0
    store.rm_file("ward/first/SHA256SUMS")
    store.pipe_file("ward/first/samples.parquet", b"cut")
    kept = store.info("ward/first/dataset.json")["LastModified"]
    assert publish(lake) == 0
    assert store.info("ward/first/dataset.json")["LastModified"] == kept
    assert store.cat_file("ward/first/samples.parquet") == (lake / "shards" / "set" / "samples.parquet").read_bytes()
    assert store.exists("ward/first/SHA256SUMS")
    capsys.readouterr()
    assert publish(lake) == 0
    assert "0.0 MB sent now" in capsys.readouterr().err


class CutStore(MemoryFileSystem):  # type: ignore[misc]
    """A store that breaks down after the first file, and tells what the lake says while that goes out."""

    protocol = "cut"
    store: ClassVar[dict[str, Any]] = {}
    lake: ClassVar[Path]
    seen: ClassVar[list[tuple[tuple[str, ...], str | None]]] = []

    def put_file(self, *arguments: Any, **options: Any) -> None:
        if self.seen:
            raise OSError("the line is cut")
        with open_lake(self.lake, read_only=True) as opened:
            self.seen.append((find_traces(opened, subject_of(opened, [video_of(self.lake)])).exports, held_lock(self.lake)))
        super().put_file(*arguments, **options)


def video_of(lake: Path) -> str:
    """A video of which the dataset has frames."""
    with open_lake(lake, read_only=True) as opened:
        return str(opened.rows("SELECT min(video_id) AS one FROM frames JOIN shard_frames USING (frame_id)")[0]["one"])


def test_a_publication_that_is_cut_off_is_named_to_who_forgets(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fsspec.register_implementation("cut", CutStore, clobber=True)
    CutStore.lake = lake
    assert publish(lake, "cut://ward/part") == 1
    ((exports, lock),) = CutStore.seen
    assert "cut://ward/part" in exports, "before the first file is there, for the process may be killed"
    assert str(lock).startswith("staging/publish-")
    assert held_lock(lake) is None
    capsys.readouterr()
    assert main(["forget", "--video", video_of(lake), "--lake", str(lake), "--dry-run"]) == 0
    assert "forget: cut://ward/part is an export of such a dataset: delete it and its copies yourself" in capsys.readouterr().err
    with open_lake(lake, read_only=True) as opened:
        assert opened.rows("FROM exports WHERE path = 'cut://ward/part'") == []


def test_a_changed_tar_is_not_sent(store: Any, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tar,) = (lake / "shards" / "set").glob("*-000000.tar")
    whole = tar.read_bytes()
    tar.write_bytes(whole[:-1] + b"x")
    try:
        assert publish(lake) == 1
    finally:
        tar.write_bytes(whole)
    assert "has the SHA-256" in capsys.readouterr().err
    assert not store.exists("ward/first/SHA256SUMS")


def test_places_that_cannot_be_used_are_one_sentence(store: Any, lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.pipe_file("ward/other/photo.jpg", b"x")
    assert publish(lake, "s3://ward/other") == 1
    assert "s3://ward/other holds something else, such as ward/other/photo.jpg" in capsys.readouterr().err
    for mark, of in (("backup.json", "copy"), ("lake.json", "lakes/one")):
        store.pipe_file(f"ward/{of}/{mark}", b"{}")
        assert publish(lake, f"s3://ward/{of}/tables/first") == 1
        assert f"/tables/first lies below s3://ward/{of}, which is a lake's or a backup's own" in capsys.readouterr().err
        assert not store.exists(f"ward/{of}/tables/first")
    assert publish(lake, "memory://ward/x") == 1
    assert "is on this machine or in memory" in capsys.readouterr().err
    for place, why in (("first", "is no place in an object store"), ("s3://me:word@ward/x", "holds a password")):
        with pytest.raises(SystemExit):
            publish(lake, place)
        assert why in " ".join(capsys.readouterr().err.replace("│", "").split())
