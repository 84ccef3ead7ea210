"""A lake that lies among the videos: its packs, private ones too, never come back as videos."""

import os
import shutil
from pathlib import Path

import pytest

from curation.ingest import IngestConfig
from curation.sources import find_videos
from flows.job import Job
from flows.runners.runners import SerialRunner
from flows.stages.ingest import IngestSummary, run_ingest
from tests.helpers.films import room, tissue, write_video
from warehouse.lake import open_lake


def ingest(root: Path, *inputs: Path | str) -> tuple[IngestSummary, set[str]]:
    with open_lake(root, create=True) as lake:
        job = Job(lake=lake, runner=SerialRunner())
        summary = run_ingest(job, [str(name) for name in inputs], config=IngestConfig(text="off", settle_s=0))
        return summary, {Path(row["uri"].removeprefix("file://")).name for row in lake.rows("SELECT uri FROM videos")}


@pytest.mark.parametrize("place", ["archive/lake", "archive"])
def test_a_lake_among_the_videos_is_left_out_and_said(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, root = tmp_path / "archive", tmp_path / place
    write_video(archive / "one.mp4", [*(tissue(seed) for seed in range(4)), *(room(seed) for seed in range(4))])
    ingest(root, archive)
    assert list((root / "frames").rglob("*.private.tar"))
    write_video(archive / "sub" / "two.mp4", [tissue(seed) for seed in range(5, 8)])
    capsys.readouterr()
    summary, videos = ingest(root, archive)
    assert (summary.num_files, summary.num_known, summary.num_ingested, summary.num_rejected) == (2, 1, 1, 0)
    assert videos == {"one.mp4", "two.mp4"}
    assert f"left out what the lake {root} is made of" in capsys.readouterr().err


def test_what_a_lake_is_made_of_cannot_be_named_either(tmp_path: Path) -> None:
    root = tmp_path / "lake"
    ingest(root, write_video(tmp_path / "one.mp4", [tissue(seed) for seed in range(4)]))
    (pack,) = (root / "frames").rglob("*[0-9a-f].tar")
    os.symlink(root / "frames", tmp_path / "linked")
    for named in (pack, root / "frames", root / "**" / "*.tar", root / "*.sqlite", tmp_path / "linked"):
        with pytest.raises(FileNotFoundError, match=r"no video found in .* but what the lake .*/lake is made of; name a video file"):
            find_videos([str(named)])
    for lock in root.glob("*.lock"):  # as of a copy
        lock.unlink()
    found = find_videos([str(tmp_path / "*.mp4"), str(tmp_path / "*" / "**" / "*.tar")])
    assert [Path(video.path).name for video in found] == ["one.mp4"]


def test_a_folder_in_a_manifest_is_searched_likewise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "archive" / "lake"
    write_video(tmp_path / "archive" / "one.mp4", [tissue(seed) for seed in range(4)])
    (tmp_path / "m.csv").write_text("uri\narchive\n")
    ingest(root, tmp_path / "m.csv")
    capsys.readouterr()
    assert ingest(root, tmp_path / "m.csv")[0].num_files == 1
    assert f"left out what the lake {root} is made of" in capsys.readouterr().err


def test_a_pack_under_another_name_is_an_archive_and_no_video(tmp_path: Path) -> None:
    root = tmp_path / "lake"
    ingest(root, write_video(tmp_path / "one.mp4", [tissue(seed) for seed in range(4)]))
    (pack,) = (root / "frames").rglob("*[0-9a-f].tar")
    shutil.copy(pack, tmp_path / "backup.mp4")
    summary, videos = ingest(root, tmp_path / "backup.mp4")
    assert (summary.num_rejected, videos) == (1, {"one.mp4"})
    with open_lake(root, read_only=True) as lake:
        assert lake.rows("SELECT reason, detail FROM rejects") == [
            {"reason": "not_a_video", "detail": "a tar archive, not a video; unpack it or leave it out"}
        ]
