"""Files that are left by one run and taken by the next, and the machines and file systems that were to blame."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from curation.ingest.config import IngestConfig
from curation.sources.discover import find_videos
from flows.job import Job
from flows.runners.attempt import Failure, WrongMachine
from flows.runners.runners import SerialRunner, make_runner
from flows.stages.ingest import IngestSummary, run_ingest
from flows.stages.presence import if_present, proven_presence
from tests.helpers.films import tissue, write_video
from warehouse.lake import Lake, open_lake
from warehouse.records import VideoRef

NOW = IngestConfig(text="off", settle_s=0)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path / "lake", create=True) as opened:
        yield opened


def film(path: Path, *, seed: int = 0) -> Path:
    return write_video(path, [tissue(seed + number) for number in range(2)])


def ingest(lake: Lake, *inputs: Path) -> IngestSummary:
    return run_ingest(Job(lake=lake, runner=SerialRunner()), [str(path) for path in inputs], config=NOW)


def outcome(summary: IngestSummary) -> tuple[int, int, int, dict[str, int]]:
    return summary.num_known, summary.num_ingested, summary.num_rejected, dict(summary.left_by_reason)


def left(lake: Lake) -> dict[str, str]:
    return {Path(row["uri"]).name: row["reason"] for row in lake.rows("SELECT uri, reason FROM left_files")}


def test_what_a_manifest_misses_is_left_counted_and_taken_when_it_comes(lake: Lake, tmp_path: Path) -> None:
    names = [f"v{number}.mp4" for number in range(20)]
    (tmp_path / "m.csv").write_text("\n".join(["uri", *names, "locked/a.mp4"]))
    film(tmp_path / "v3.mp4")
    assert outcome(ingest(lake, tmp_path / "m.csv")) == (0, 1, 0, {"missing": 20})
    assert set(left(lake)) == {*names, "a.mp4"} - {"v3.mp4"}
    since = lake.rows("SELECT min(since) AS since FROM left_files")
    film(tmp_path / "v7.mp4", seed=9)
    assert outcome(ingest(lake, tmp_path / "m.csv")) == (1, 1, 0, {"missing": 19})
    assert set(left(lake)) == {*names, "a.mp4"} - {"v3.mp4", "v7.mp4"}
    assert lake.rows("SELECT min(since) AS since FROM left_files") == since  # rows that say the same stay
    assert lake.rows("FROM rejects") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become a user who may read less")
def test_a_known_video_that_may_not_be_read_for_a_while_comes_back(lake: Lake, tmp_path: Path) -> None:
    path = film(tmp_path / "in" / "a.mp4")
    path.chmod(0o000)
    for folder in (tmp_path, *tmp_path.parents[:3], lake.root):
        folder.chmod(folder.stat().st_mode | 0o777)
    for place in lake.root.rglob("*"):
        place.chmod(0o777)
    os.seteuid(65534)
    try:
        assert outcome(ingest(lake, path)) == (0, 0, 0, {"no_access": 1})
    finally:
        os.seteuid(0)
    path.chmod(0o644)
    assert outcome(ingest(lake, path)) == (0, 1, 0, {})
    assert left(lake) == {}


def test_a_machine_that_does_not_see_lake_or_archive_says_nothing_of_a_video(lake: Lake, tmp_path: Path) -> None:
    videos = find_videos([str(film(tmp_path / "archive" / f"{number}.mp4", seed=number)) for number in range(3)])

    def work(video: VideoRef) -> str:
        return video.path

    with proven_presence(lake.root, videos) as presence:
        assert if_present(videos[0], presence=presence, work=work) == videos[0].path
        with pytest.raises(WrongMachine, match="has no added filters, expected the filters sheen 2: install the same packages there"):
            if_present(videos[0], presence=replace(presence, filters={"sheen": 2}), work=work)
        (tmp_path / "archive" / "0.mp4").unlink()  # one file is not a file system
        assert if_present(videos[0], presence=presence, work=work) == videos[0].path
        (tmp_path / "archive").rename(tmp_path / "unmounted")
        with pytest.raises(WrongMachine, match=r"does not see '.*/archive': mount it there"):
            if_present(videos[0], presence=presence, work=work)
        (tmp_path / "unmounted").rename(tmp_path / "archive")
        shutil.copytree(lake.root, tmp_path / "other disk")
        shutil.rmtree(tmp_path / "other disk" / "staging")
        lake.root.rename(tmp_path / "lake on the first disk")
        (tmp_path / "other disk").rename(lake.root)
        with pytest.raises(WrongMachine, match="does not see the lake: another disk, or none, is at its path"):
            if_present(videos[0], presence=presence, work=work)
        shutil.rmtree(lake.root)
        (tmp_path / "lake on the first disk").rename(lake.root)
    assert not list((lake.root / "staging").glob(".presence*"))


def vanish(item: int, *, folder: str) -> str:
    raise WrongMachine("this machine does not see it")


def test_an_item_of_the_wrong_machine_is_no_error_of_the_item() -> None:
    (failure,) = make_runner("processes", 1).map(vanish, [1], folder="x")
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.detail) == ("misplaced", "this machine does not see it")
