"""What a second run makes of an archive that has changed since the first."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pydicom.uid import MPEG4HP41

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_video
from curation.sources.manifest import pseudonym
from flows.job import Job
from flows.runners import Resources
from flows.runners.runners import RunnerName, SerialRunner
from flows.stages.ingest import run_ingest
from tests.helpers.dicom_files import KEY, STUDY, stream, write_dicom
from tests.helpers.ingests import NOW, counts, film, ingest, uris
from tests.helpers.stills import still
from warehouse.lake import Lake, open_lake


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake", create=True) as opened:
        yield opened


def test_a_moved_file_is_known_and_the_lake_learns_where_it_is(lake: Lake, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    film(archive / "a.mp4")
    film(archive / "b.mp4", seed=9)
    assert counts(ingest(lake, archive)) == (0, 0, 0, 2, 0)
    (archive / "ward 7").mkdir()
    (archive / "a.mp4").rename(archive / "ward 7" / "c.mp4")
    for _ in range(2):  # the second time it is no move any more
        summary = ingest(lake, archive)
    assert counts(summary) == (2, 0, 0, 0, 0)
    assert uris(lake) == {(archive / "b.mp4").as_uri(): "video", (archive / "ward 7" / "c.mp4").as_uri(): "video"}
    assert lake.rows("SELECT count(*) AS n FROM videos") == [{"n": 2}]


def test_names_that_change_places_are_two_moves_and_no_duplicate(lake: Lake, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    film(archive / "a.mp4")
    film(archive / "b.mp4", seed=9)
    ingest(lake, archive)
    (archive / "a.mp4").rename(archive / "c.mp4")
    (archive / "b.mp4").rename(archive / "a.mp4")
    assert counts(ingest(lake, archive)) == (2, 2, 0, 0, 0)
    assert uris(lake) == {(archive / "a.mp4").as_uri(): "video", (archive / "c.mp4").as_uri(): "video"}


def test_a_copy_is_a_duplicate_until_its_original_is_gone(lake: Lake, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    (archive / "b.mp4").parent.mkdir()
    (archive / "b.mp4").write_bytes(film(archive / "a.mp4").read_bytes())
    assert counts(ingest(lake, archive)) == (0, 0, 0, 1, 1)
    assert counts(ingest(lake, archive)) == (2, 0, 0, 0, 0)
    (archive / "a.mp4").unlink()
    assert counts(ingest(lake, archive)) == (1, 1, 0, 0, 0)
    assert lake.rows("SELECT uri FROM current_videos") == [{"uri": (archive / "b.mp4").as_uri()}]


def test_a_renamed_folder_of_stills_is_known(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "archive/case").mkdir(parents=True)
    for number in range(3):
        still(number).save(tmp_path / f"archive/case/{number}.png")
    film(tmp_path / "archive/case/a.mp4", seed=20)
    assert counts(ingest(lake, tmp_path / "archive")) == (0, 0, 0, 2, 0)
    (tmp_path / "archive/case").rename(tmp_path / "archive/other")
    assert counts(ingest(lake, tmp_path / "archive")) == (2, 2, 0, 0, 0)
    assert sorted(uris(lake)) == [(tmp_path / "archive/other").as_uri(), (tmp_path / "archive/other/a.mp4").as_uri()]


def test_unchanged_files_are_not_read_again_unless_nothing_is_trusted(lake: Lake, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    ingest(lake, path)
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # what no writer does, shows that it was not read
    assert counts(ingest(lake, path)) == (1, 0, 0, 0, 0)
    assert counts(ingest(lake, path, config=IngestConfig(text="off", settle_s=0, rehash=True))) == (0, 0, 0, 1, 0)
    os.utime(path)
    assert counts(ingest(lake, path)) == (1, 0, 0, 0, 0)


def test_a_file_that_is_open_for_writing_is_left_and_taken_when_it_is_whole(lake: Lake, tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4").read_bytes()
    path = tmp_path / "archive" / "a.mp4"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.write(whole[:2000])
        file.flush()
        assert counts(ingest(lake, path.parent)) == (0, 0, 1, 0, 0)
        assert uris(lake) == {}
        file.write(whole[2000:])
    assert counts(ingest(lake, path.parent)) == (0, 0, 0, 1, 0)


def test_a_young_file_that_grows_while_it_is_waited_for_is_left(lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = film(tmp_path / "archive" / "a.mp4")
    film(tmp_path / "archive" / "b.mp4", seed=9)
    done = threading.Event()

    def keep_writing() -> None:  # opened anew each time, as over a network: no lease tells
        while not done.is_set():
            with path.open("ab") as file:
                file.write(b"\0" * 64)
            time.sleep(0.01)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        summary = ingest(lake, path.parent, config=IngestConfig(text="off", settle_s=0.5))
    finally:
        done.set()
        writer.join()
    assert counts(summary) == (0, 0, 1, 1, 0)
    assert uris(lake) == {(path.parent / "b.mp4").as_uri(): "video"}
    said = capsys.readouterr().err.replace("\n", "")
    assert f"left for the next run: 1 files are still being written: {path.as_uri()} (just written to)" in said
    assert counts(ingest(lake, path.parent)) == (1, 0, 0, 1, 0)


@dataclass
class BusyArchive:
    """Runs in this process, while somebody else does something after the files were hashed."""

    meanwhile: Callable[[], object]
    name: RunnerName = "serial"

    def map(self, function: Callable[..., Any], items: Sequence[Any], *, timeout_s: float | None = None, **shared: Any) -> Iterator[Any]:
        return SerialRunner().map(function, items, timeout_s=timeout_s, **shared)

    def map_unordered(
        self, function: Callable[..., Any], items: Sequence[Any], *, timeout_s: float | None = None, **shared: Any
    ) -> Iterator[tuple[int, Any]]:
        if shared.get("work") is ingest_video:
            self.meanwhile()
        return SerialRunner().map_unordered(function, items, timeout_s=timeout_s, **shared)

    def machines(self) -> list[Resources]:
        return SerialRunner().machines()

    def reuse_workers(self) -> AbstractContextManager[None]:
        return SerialRunner().reuse_workers()


def test_a_file_that_changes_between_hash_and_decoding_is_left_unless_only_its_time_did(lake: Lake, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    grow = BusyArchive(lambda: path.write_bytes(path.read_bytes() + b"\0" * 8))
    assert counts(run_ingest(Job(lake=lake, runner=grow), [str(path)], config=NOW)) == (0, 0, 1, 0, 0)
    assert uris(lake) == {}
    assert not list((lake.root / "frames").rglob("*.tar"))
    touch = BusyArchive(path.touch)
    assert counts(run_ingest(Job(lake=lake, runner=touch), [str(path)], config=NOW)) == (0, 0, 0, 1, 0)


def test_a_duplicate_of_a_file_that_was_left_is_not_lost(lake: Lake, tmp_path: Path) -> None:
    first, second = film(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    second.write_bytes(first.read_bytes())
    grow = BusyArchive(lambda: first.write_bytes(b"something else"))
    assert counts(run_ingest(Job(lake=lake, runner=grow), [str(first), str(second)], config=NOW)) == (0, 0, 1, 0, 1)
    assert counts(ingest(lake, first, second)) == (0, 0, 0, 1, 1)
    assert lake.rows("SELECT uri FROM current_videos") == [{"uri": second.as_uri()}]


def test_what_a_dicom_header_says_is_known_where_no_manifest_says_otherwise(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDOFORGE_PATIENT_KEY", KEY.decode())
    write_dicom(tmp_path / "a.dcm", MPEG4HP41, [stream("libx264", "mp4", seconds=1)])
    (tmp_path / "m.csv").write_text("uri,device,site\na.dcm,GIF-H190,Ward 7\n")
    ingest(lake, tmp_path / "a.dcm")
    said = {"patient_id": pseudonym("4711-A", KEY), "study_id": pseudonym(STUDY, KEY), "date": None, "procedure": None}
    columns = "SELECT * EXCLUDE (video_id, patient_ids, study_ids, sites) FROM video_info"
    assert lake.rows(columns) == [{**said, "device": "CV-190", "site": None}]
    ingest(lake, tmp_path / "m.csv")
    assert lake.rows(columns) == [{**said, "device": "GIF-H190", "site": "Ward 7"}]


def test_a_manifest_may_name_folders_and_a_row_of_its_own_counts_more(lake: Lake, tmp_path: Path) -> None:
    film(tmp_path / "archive/a.mp4")
    film(tmp_path / "archive/b.mp4", seed=9)
    for number in range(2):
        still(number + 30).save(tmp_path / f"archive/{number}.png")
    (tmp_path / "m.csv").write_text("uri,site\narchive,Ward 7\narchive/b.mp4,Ward 8\nnone.mp4,\n")
    assert counts(ingest(lake, tmp_path / "m.csv")) == (0, 0, 1, 3, 0)
    found = lake.rows("SELECT v.uri, i.site FROM current_videos v JOIN video_info i USING (video_id) ORDER BY v.uri")
    expected = [("archive", "Ward 7"), ("archive/a.mp4", "Ward 7"), ("archive/b.mp4", "Ward 8")]
    assert [(row["uri"], row["site"]) for row in found] == [((tmp_path / name).as_uri(), site) for name, site in expected]


def test_what_a_store_did_not_give_is_ingested_by_the_next_run(lake: Lake, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    content = film(tmp_path / "a.mp4").read_bytes()
    memory.pipe("/films/a.mp4", content)
    away = BusyArchive(lambda: memory.rm("/films/a.mp4"))
    other = film(tmp_path / "b.mp4", seed=9)
    alone, both = ["memory://films/a.mp4"], ["memory://films/a.mp4", str(other)]
    assert counts(run_ingest(Job(lake=lake, runner=away), alone, config=NOW)) == (0, 0, 1, 0, 0)
    assert lake.rows("FROM runs") == []
    memory.pipe("/films/a.mp4", content)
    assert counts(run_ingest(Job(lake=lake, runner=away), both, config=NOW)) == (0, 0, 1, 1, 0)
    memory.pipe("/films/a.mp4", content)
    assert counts(ingest(lake, *both)) == (1, 0, 0, 1, 0)
    assert counts(ingest(lake, *both)) == (2, 0, 0, 0, 0)
    assert uris(lake) == {"memory:///films/a.mp4": "video", other.as_uri(): "video"}
    assert lake.rows("SELECT e.run_id FROM edges e WHERE direction = 'input' GROUP BY ALL HAVING count(*) > 1") == []
    memory.rm("/films", recursive=True)


def test_a_retry_that_could_not_reach_a_file_takes_nothing_back(lake: Lake, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    content = film(tmp_path / "a.mp4").read_bytes()
    memory.pipe("/films/a.mp4", content)
    short, retry = IngestConfig(text="off", settle_s=0, max_frames=1), IngestConfig(text="off", settle_s=0, max_frames=1, retry_failed=True)
    assert counts(ingest(lake, "memory://films", config=short)) == (0, 0, 0, 0, 1)
    away = BusyArchive(lambda: memory.rm("/films/a.mp4"))
    assert counts(run_ingest(Job(lake=lake, runner=away), ["memory://films"], config=retry)) == (0, 0, 1, 0, 0)
    assert uris(lake) == {"memory:///films/a.mp4": "too_long"}
    memory.pipe("/films/a.mp4", content)
    assert counts(ingest(lake, "memory://films", config=short)) == (1, 0, 0, 0, 0)
    memory.rm("/films", recursive=True)


def test_a_file_that_was_given_up_is_known_where_it_moves_and_counts_once(lake: Lake, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    path = film(archive / "a.mp4")
    content = path.read_bytes()
    short = IngestConfig(text="off", settle_s=0, max_frames=1)
    assert counts(ingest(lake, archive, config=short)) == (0, 0, 0, 0, 1)
    path.rename(archive / "b.mp4")
    assert counts(ingest(lake, archive, config=short)) == (1, 1, 0, 0, 0)
    assert counts(ingest(lake, archive, config=short)) == (1, 0, 0, 0, 0)
    (archive / "copy.mp4").write_bytes(content)
    assert counts(ingest(lake, archive, config=short)) == (1, 0, 0, 0, 1)
    assert lake.rows("SELECT reason FROM rejects ORDER BY reason") == [{"reason": "duplicate"}, {"reason": "too_long"}]
    (archive / "b.mp4").unlink()
    assert counts(ingest(lake, archive, config=IngestConfig(text="off", settle_s=0, retry_failed=True))) == (0, 0, 0, 1, 0)
    assert uris(lake) == {(archive / "copy.mp4").as_uri(): "video"}


def test_what_is_said_of_a_duplicate_names_no_file(lake: Lake, tmp_path: Path) -> None:
    path = film(tmp_path / "Jane Doe.mp4")
    (tmp_path / "again.mp4").write_bytes(path.read_bytes())
    ingest(lake, tmp_path / "Jane Doe.mp4", tmp_path / "again.mp4")
    (video,) = lake.rows("SELECT video_id FROM videos")
    assert lake.rows("SELECT detail FROM rejects") == [{"detail": f"the same content as video {video['video_id'][:16]}"}]


def test_two_ingests_at_once_take_turns_and_ingest_everything_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, root = tmp_path / "archive", tmp_path / "lake"
    first = film(archive / "a.mp4")
    film(archive / "b.mp4", seed=9)
    printed: list[str] = []

    def second() -> None:
        with open_lake(root) as opened:
            ingest(opened, first)

    other = threading.Thread(target=second)

    def start_the_second() -> None:
        other.start()
        while "another ingest works on this lake; waiting" not in "".join(printed):
            assert other.is_alive()
            printed.append(capsys.readouterr().err)
            time.sleep(0.01)

    with open_lake(root, create=True) as lake:
        job = Job(lake=lake, runner=BusyArchive(start_the_second))
        assert counts(run_ingest(job, [str(archive)], config=NOW)) == (0, 0, 0, 2, 0)
        other.join()
        assert lake.rows("SELECT count(*) AS n FROM videos") == [{"n": 2}]
        assert lake.rows("SELECT count(*) = count(DISTINCT frame_id) AS once FROM frames") == [{"once": True}]
        assert lake.rows("SELECT DISTINCT status FROM runs") == [{"status": "complete"}]
