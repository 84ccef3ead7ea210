"""Ingest and shards from S3, as a moto server on loopback speaks it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_key
from curation.sources.discover import find_videos
from flows.cli.cli import main
from pretrain.config import DataConfig
from pretrain.reader import ShardReader
from pretrain.shard_files import UnreadableError
from tests.flows.conftest import kill_when, succeed
from tests.helpers.films import tissue, write_video
from tests.helpers.ingests import counts, film, ingest, uris
from tests.helpers.object_store import ACCOUNT, empty_bucket
from tests.helpers.shards import picture, write_dataset
from tests.helpers.stills import still
from warehouse.lake import Lake, open_lake


@pytest.fixture
def store(s3_address: str) -> Iterator[Any]:
    with empty_bucket(s3_address, "ward") as filesystem:
        yield filesystem


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake", create=True) as opened:
        yield opened


def scratch(lake: Path) -> list[Path]:
    return [path for path in (lake / "staging/scratch").rglob("*") if path.name != "lock"]


def test_objects_are_found_below_a_prefix_by_glob_and_alone(store: Any) -> None:
    for name in ("a.mp4", "deep/b b.mkv", "deep/2.png", "deep/10.png", "deep/.hidden.mp4", "deep/notes.txt", "other/c.avi"):
        store.pipe(f"ward/{name}", b"something")

    def found(*inputs: str) -> list[tuple[str, int]]:
        return [(video.path, len(video.images)) for video in find_videos(inputs)]

    deep = [("s3://ward/deep", 2), ("s3://ward/deep/b b.mkv", 0)]
    assert found("s3://ward/deep") == found("s3://ward/deep/") == deep
    assert found("s3://ward") == [("s3://ward/a.mp4", 0), *deep, ("s3://ward/other/c.avi", 0)]
    assert found("s3://ward/*/*.mkv", "s3://ward/a.mp4") == [("s3://ward/a.mp4", 0), ("s3://ward/deep/b b.mkv", 0)]
    assert find_videos(["s3://ward/deep"])[0].images == ("s3://ward/deep/2.png", "s3://ward/deep/10.png")
    with pytest.raises(FileNotFoundError, match="ward/none"):
        find_videos(["s3://ward/none"])


def test_an_archive_in_a_bucket_gives_the_rows_and_packs_of_one_on_disk(store: Any, lake: Lake, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    film(archive / "a.mp4")
    (archive / "empty.mp4").touch()
    (archive / "copy.mp4").write_bytes((archive / "a.mp4").read_bytes())
    for number in range(3):
        still(number).save(archive / f"{number}.png")
    store.put(str(archive) + "/", "ward/x/", recursive=True)
    assert counts(ingest(lake, "s3://ward/x")) == (0, 0, 0, 2, 2)
    assert uris(lake) == {
        "s3://ward/x": "video",
        "s3://ward/x/a.mp4": "video",
        "s3://ward/x/copy.mp4": "duplicate",
        "s3://ward/x/empty.mp4": "empty",
    }
    assert scratch(lake.root) == []
    with open_lake(tmp_path / "local", create=True) as local:
        ingest(local, archive)
        rows = [opened.rows("SELECT * EXCLUDE (run_id, uri) FROM videos ORDER BY video_id") for opened in (lake, local)]
        frames = [opened.rows("SELECT * FROM frames ORDER BY frame_id") for opened in (lake, local)]
    assert rows[0] == rows[1]
    assert frames[0] == frames[1]


def test_what_was_read_is_not_read_again(store: Any, lake: Lake, tmp_path: Path) -> None:
    store.put(str(film(tmp_path / "a.mp4")), "ward/a.mp4")
    ingest(lake, "s3://ward")
    store.mv("ward/a.mp4", "ward/moved.mp4")
    assert counts(ingest(lake, "s3://ward")) == (1, 1, 0, 0, 0)
    assert uris(lake) == {"s3://ward/moved.mp4": "video"}
    versions = lake.rows("SELECT version FROM files WHERE uri = 's3://ward/moved.mp4'")
    assert counts(ingest(lake, "s3://ward")) == (1, 0, 0, 0, 0)
    assert lake.rows("SELECT version FROM files WHERE uri = 's3://ward/moved.mp4'") == versions  # a second reading would be a second row
    store.put(str(film(tmp_path / "b.mp4", seed=9)), "ward/moved.mp4")
    assert counts(ingest(lake, "s3://ward")) == (0, 0, 0, 1, 0)


def test_a_manifest_names_objects_and_prefixes(store: Any, lake: Lake, tmp_path: Path) -> None:
    for name, seed in (("x/a.mp4", 0), ("x/b.mp4", 9), ("y/c.mp4", 20)):
        store.put(str(film(tmp_path / name, seed=seed)), f"ward/{name}")
    (tmp_path / "m.csv").write_text("uri,site\ns3://ward/x,Ward 7\ns3://ward/x/b.mp4,Ward 8\ns3://ward/y/c.mp4,\ns3://ward/y/none.mp4,\n")
    assert counts(ingest(lake, tmp_path / "m.csv")) == (0, 0, 1, 3, 0)
    found = lake.rows("SELECT v.uri, i.site FROM current_videos v JOIN video_info i USING (video_id) ORDER BY v.uri")
    assert [(row["uri"], row["site"]) for row in found] == [
        ("s3://ward/x/a.mp4", "Ward 7"),
        ("s3://ward/x/b.mp4", "Ward 8"),
        ("s3://ward/y/c.mp4", None),
    ]
    assert lake.rows("SELECT uri, reason FROM left_files") == [{"uri": "s3://ward/y/none.mp4", "reason": "missing"}]


def test_an_object_beyond_the_cache_is_rejected(store: Any, lake: Lake, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    store.put(str(path), "ward/a.mp4")
    small = IngestConfig(cache_gb=path.stat().st_size / 1e9 / 2)
    assert counts(ingest(lake, "s3://ward/a.mp4", config=small)) == (0, 0, 0, 0, 1)
    assert lake.rows("SELECT reason FROM rejects") == [{"reason": "too_large"}]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://no-such-bucket/videos", "no-such-bucket"),
        ("s3://ward/list.csv", "the manifest 'list.csv' is in an object store"),
        ("gs://bucket/videos", "gs:// needs a package that is not installed"),
        ("nonsense://bucket/videos", "no kind of file system that fsspec knows"),
        ("sftp://user:secret@host/videos", "'host' holds a password"),
        ("sftp://secret@host/videos", "'host' holds a user name"),
        ("https://host/a.mp4?X-Amz-Signature=secret", "'host' holds a query"),
        ("simplecache://x::https://host/a.mp4?secret", "'host' holds a query"),
        ("abfs://box@host.dfs.core.windows.net/a.mp4?sig=secret", "'host.dfs.core.windows.net' holds a query"),
    ],
)
def test_a_uri_that_cannot_be_used_is_one_sentence(uri: str, message: str, store: Any, tmp_path: Path, capsys: Any) -> None:
    assert main(["ingest", uri, "--lake", str(tmp_path / "lake"), "--runner", "serial"]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert "secret" not in printed
    assert len([line for line in printed.splitlines() if line.startswith("endoforge: ")]) == 1


def test_a_signed_uri_of_a_manifest_is_refused_before_anything_is_asked_of_its_host(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri\nhttps://nowhere.invalid/a.mp4?sig=secret\n")
    with pytest.raises(ValueError, match=r"^a URI of 'nowhere\.invalid' holds a query") as refused:
        ingest(lake, tmp_path / "m.csv")
    assert "secret" not in str(refused.value)


def test_an_object_whose_name_looks_like_a_query_is_read(store: Any) -> None:
    store.pipe("ward/what?a=b.mp4", b"something")
    assert [video.path for video in find_videos(["s3://ward"])] == ["s3://ward/what?a=b.mp4"]


def test_a_store_that_does_not_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name, value in {**ACCOUNT, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    assert main(["ingest", "s3://ward/x", "--lake", str(tmp_path / "lake"), "--runner", "serial"]) == 1
    assert "'s3://ward/x' cannot be reached" in capsys.readouterr().err
    fsspec.filesystem("s3").clear_instance_cache()


def test_files_in_memory_are_read_by_a_runner_of_this_process(lake: Lake, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/films/a.mp4", film(tmp_path / "a.mp4").read_bytes())
    assert counts(ingest(lake, "memory://films")) == (0, 0, 0, 1, 0)
    assert uris(lake) == {"memory:///films/a.mp4": "video"}
    assert counts(ingest(lake, f"file://{tmp_path}/a.mp4")) == (0, 0, 0, 0, 1)
    memory.rm("/films", recursive=True)


@pytest.mark.drill
def test_kill_minus_nine_while_fetching_leaves_nothing_behind_and_the_next_run_goes_on(store: Any, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [tissue(0), tissue(1)])
    path.write_bytes(path.read_bytes() + b"\0" * (40 << 20))  # an mp4 may end in anything
    store.put(str(path), "ward/a.mp4")
    lake = tmp_path / "lake"
    command = ["ingest", "s3://ward", "--lake", str(lake), "--workers", "1"]
    assert kill_when(command, lambda: any(file.suffix == ".mp4" and file.stat().st_size > 0 for file in scratch(lake)))
    assert scratch(lake)
    assert "1 ingested" in succeed(*command).err
    assert scratch(lake) == []
    with open_lake(lake, read_only=True) as opened:
        assert uris(opened) == {"s3://ward/a.mp4": "video"}
        assert opened.rows("SELECT ingest_key FROM videos") == [{"ingest_key": ingest_key(IngestConfig())}]


def test_shards_in_a_bucket_are_read_whole_through_the_cache_and_by_ranges(store: Any, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", [picture(number) for number in range(6)], 2)
    first, *_ = sorted(folder.glob("*.tar"))
    store.put(str(folder) + "/", "ward/set/", recursive=True)
    disk = ShardReader(folder)
    cached = ShardReader(folder, DataConfig(reader="sequential", shards="s3://ward/set", cache_dir=str(tmp_path / "cache")))
    at_random = ShardReader(folder, DataConfig(shards="s3://ward/set"))
    for sample in (5, 0, 2):
        assert cached.read(sample) == at_random.read(sample) == disk.read(sample)
    store.pipe(f"ward/set/{first.name}", first.read_bytes()[:600])
    cut = ShardReader(folder, DataConfig(reader="sequential", shards="s3://ward/set", cache_dir=str(tmp_path / "other")))
    for reader in (cut, at_random):
        with pytest.raises(UnreadableError):
            reader.read(1)
        assert reader.trouble(0).startswith("is cut short: it has 600 bytes")
    store.rm(f"ward/set/{first.name}")
    with pytest.raises(UnreadableError):
        at_random.read(0)
