"""The page about sets of clips and of boxes, and clips that are no use, through the reader of ingest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from curation.video import h264_writer
from evaluation.config import EvaluateConfig
from evaluation.tasks import TaskError, resolve_task
from evaluation.video.clip_contents import readable_clips
from evaluation.video.clip_frames import ClipError
from flows.stages import run_check_data
from flows.stages.clip_reading import CLIP_SOURCE, read_clip, video_facts
from tests.evaluation.detection.trees import annotation, polyps_set
from tests.helpers.films import tissue


def film(path: Path, times: list[float], *, seed: int) -> Path:
    """A video of 320x240 whose frames are shown from these seconds on."""
    with h264_writer(path, (320, 240)) as write:
        for number, second in enumerate(times):
            write(tissue(seed + number)[:240, :320].clip(0, 255).astype(np.uint8), round(1e6 * second))
    return path


def of_two_sizes(path: Path) -> Path:
    """Two programmes one after another in a transport stream, of 320x240 and of 160x120, a second each."""
    parts = []
    for width, height in ((320, 240), (160, 120)):
        part = path.with_suffix(f".{width}.ts")
        with av.open(str(part), "w", format="mpegts") as container:
            stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(10):
                pixels = tissue(number)[:height, :width].clip(0, 255).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
            container.mux(stream.encode(None))
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))
    return path


def machine(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)[0])
    return found


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of ten frames a second; of the last, frames from 1 s on are shown twice as long, and one row is behind its end."""
    root = tmp_path_factory.mktemp("clips")
    rows = ["video,start_s,end_s,label,split,patient"]
    for number in range(6):
        times = [each / 10 for each in range(20)] if number < 5 else [each / 10 + max(0, each - 10) / 10 for each in range(20)]
        film(root / f"{number}.mp4", times, seed=40 * number)
        split = ("train", "train", "train", "val", "test", "test")[number]
        rows += [f"{number}.mp4,0,0.5,in,{split},P{number}", f"{number}.mp4,0.5,1.5,out,{split},P{number}"]
    (root / "clips.csv").write_text("\n".join([*rows, "0.mp4,1,9,in,train,P0"]) + "\n")
    return root


def test_the_page_of_clips_has_lengths_rates_and_middle_frames(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check_data(clips, task="auto", output=tmp_path, config=EvaluateConfig(num_workers=1))
    page = (tmp_path / "index.html").read_text()
    tables = {table["title"]: table["rows"] for table in machine(page)["tables"]}
    assert tables["Counts"] == [["in", "3", "1", "2", "6"], ["out", "3", "1", "2", "6"], ["all", "6", "2", "4", "12"]]
    assert tables["Length"][0] == ["train", "6", "3", "0.50", "0.75", "1.00"]
    assert tables["Frame rates"] == [["10 frames a second", "5"], ["variable, about 10 frames a second", "1"]]
    assert tables["Picture sizes"] == [["320 x 240", "6"]]
    assert "2.00 s long, and the clip goes from 1 s to 9 s" in tables["Left out"][0][0]
    notes = [note["text"] for note in machine(page)["notes"]]
    assert "6 clips have fewer frames than the 8 that are read: some are read twice" in notes
    assert any(note.startswith("1 videos have a variable frame rate") for note in notes)
    assert page.count("<img ") == 12
    assert "Clips of each class" in page
    assert "check-data: clips, classification, 12 clips of 6 videos" in capsys.readouterr().err


def test_too_many_clips_that_cannot_be_read_are_a_problem(clips: Path, tmp_path: Path) -> None:
    config = EvaluateConfig(num_workers=1, max_unreadable=0.0)
    assert not run_check_data(clips, task="clips", output=tmp_path, config=config)
    assert "1 of 13 clips cannot be used, more than --max-unreadable 0 allows" in (tmp_path / "index.html").read_text()


def test_a_short_clip_repeats_frames_and_a_variable_rate_goes_by_time(clips: Path) -> None:
    short = read_clip(str(clips / "0.mp4"), [0.01, 0.02, 0.11])
    assert (short[0] == short[1]).all()
    assert not (short[1] == short[2]).all()
    variable = str(clips / "5.mp4")
    # from 1 s on a frame is shown for 0.2 s: 1.05 s is the eleventh frame, and so are 1.0 and 1.15 s before the next at 1.2 s
    late = read_clip(variable, [0.95, 1.05, 1.15, 1.25])
    assert (late[1] == late[2]).all()
    assert not (late[0] == late[1]).all()
    assert not (late[2] == late[3]).all()
    assert video_facts(variable).is_variable


def test_a_picture_that_changes_its_size_within_a_clip_is_never_passed_over(tmp_path: Path) -> None:
    path = of_two_sizes(tmp_path / "two.ts")
    assert read_clip(str(path), [0.1, 0.5]).shape == (2, 240, 320, 3)
    with pytest.raises(ClipError, match=r"changes its size within the clip \(160x120, 320x240\)"):
        read_clip(str(path), [0.1, 1.5])
    (tmp_path / "clips.csv").write_text(
        "video,start_s,end_s,label,split\ntwo.ts,0,0.9,a,train\ntwo.ts,0,0.8,b,val\ntwo.ts,0,0.7,b,test\ntwo.ts,0.1,2,a,test\n"
    )
    found, _ = readable_clips(resolve_task("clips", tmp_path), CLIP_SOURCE, num_frames=2)
    assert len(found.items) == 3
    assert "changes its size within the clip" in found.unreadable[0]


def test_a_table_that_names_a_video_that_is_not_there_is_refused(tmp_path: Path) -> None:
    rows = [f"ghost.mp4,{number},{number + 1},{'ab'[number % 2]},{split}" for number, split in enumerate(("train", "train", "val", "test"))]
    (tmp_path / "clips.csv").write_text("\n".join(["video,start_s,end_s,label,split", *rows]) + "\n")
    with pytest.raises(TaskError, match=r"ghost\.mp4"):
        run_check_data(tmp_path, task="auto", output=tmp_path / "page", config=EvaluateConfig(num_workers=1))


def test_the_page_of_boxes_has_their_counts_and_those_that_were_left_out(tmp_path: Path) -> None:
    data = polyps_set(tmp_path / "data", videos=2, frames=3)
    annotation(
        data / "PolypsSet" / "train2019" / "Annotation" / "1" / "9.xml",
        [("adenomatous", 5, 5, 4, 20), ("adenomatous", 80, 70, 120, 90)],
    )
    assert run_check_data(data, task="auto", output=tmp_path / "page", config=EvaluateConfig(num_workers=1))
    page = (tmp_path / "page" / "index.html").read_text()
    tables = {table["title"]: table["rows"] for table in machine(page)["tables"]}
    assert [row[0] for row in tables["Boxes"]] == ["adenomatous", "hyperplastic"]
    assert sum(int(row[4]) for row in tables["Boxes"]) == 3 * 2 * 2 + 1
    assert {row[0]: row[4] for row in tables["Size of boxes"]} == {"adenomatous": "4", "hyperplastic": "3"}
    notes = {note["text"]: note["level"] for note in machine(page)["notes"]}
    assert notes["degenerate boxes: 1 without width or height are left out, their frames stay"] == "warning"
    assert any(text.startswith("boxes: 1 reach over the border") for text in notes)
    assert "with the boxes as they are read" in page
