"""Predictions keep to what a lake has decided, take inputs of any kind, and go on where they were cut off."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from curation.ingest import opened_for_playback
from curation.sources import find_videos, identify
from evaluation.predict import FramePrediction
from evaluation.predict_config import PredictConfig
from evaluation.report import ArchiveFrame, TimelineEpisode, TimelinePicture, TimelineRow
from evaluation.tasks import eight_bit
from flows.stages.predict_frame import within_content
from flows.stages.predict_inputs import find_inputs
from flows.stages.predict_parts import PredictedPart, claim_folder, part_table, read_part, write_part
from flows.stages.predict_privacy import is_video_removed, scan_settings, withheld_frames
from tests.helpers.films import HEIGHT, WIDTH, octagon, tissue, write_video
from tests.helpers.ingests import NOW, ingest
from warehouse.lake import Lake, open_lake
from warehouse.lineage import RunContext, plan_run, record_run
from warehouse.records import VideoRef
from warehouse.removed import removed_hashes, removed_moments, removed_state


def still(path: Path, number: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(tissue(number).clip(0, 255).astype(np.uint8)).save(path)
    return path


def remove(lake: Lake, frame_id: str, reason: str) -> None:
    with record_run(lake, plan_run(stage="removal", version=1, config=reason, inputs=[]), RunContext(runner="serial")) as run:
        run.rows("removals", [{"frame_id": frame_id, "reason": reason, "source": "test"}])


def test_the_settings_of_the_latest_ingest_and_its_removals_hold(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", [tissue(n) for n in range(8)])
    config = PredictConfig(fps=1)
    with open_lake(tmp_path / "lake", create=True) as lake:
        assert scan_settings(lake, config).text_masks == ()
        ingest(lake, film, config=replace(NOW, text_masks=("192x144:0,0,50,50",), max_out_of_body=0.4))
        scan = scan_settings(lake, config)
        assert (scan.text_masks, scan.max_out_of_body, scan.text) == (("192x144:0,0,50,50",), 0.4, "blackout")
        video = identify(find_videos([str(film)])[0])
        assert isinstance(video, VideoRef)
        assert removed_moments(lake, video.video_id) == ()
        (row,) = lake.rows("SELECT frame_id FROM frames WHERE pts_us = 3000000")
        before = removed_state(lake)
        remove(lake, row["frame_id"], "identified_in_audit")
        assert removed_state(lake) != before
        moments = removed_moments(lake, video.video_id)
        assert [(each.start_us, each.end_us, each.reason) for each in moments] == [(2_000_001, 3_999_999, "identified_in_audit")]
        with opened_for_playback(video, replace(scan, text="off"), scratch=tmp_path / "s") as opened:
            playback = replace(opened, withheld=withheld_frames(opened, moments, {}))
            assert [playback.hidden(number) for number in range(2, 5)] == [None, "identified_in_audit", None]
            assert withheld_frames(opened, (), removed_hashes(lake)) == {3: "identified_in_audit"}, "in another file of the same film"
        assert not is_video_removed(moments)
        remove(lake, row["frame_id"], "video_removed_in_audit")
        assert is_video_removed(removed_moments(lake, video.video_id))


def test_masks_end_at_the_content_area(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", [tissue(n) for n in range(3)])
    (video,), _ = find_inputs([str(path)])
    with opened_for_playback(video, NOW, scratch=tmp_path / "s") as playback:
        frame = next(iter(playback.frames()))
        found = within_content(FramePrediction(mask=np.ones((HEIGHT, WIDTH), np.bool_)), frame, playback).mask
    assert found is not None
    around = np.ones((9, 9), np.uint8)
    assert not found[cv2.dilate(octagon().astype(np.uint8), around) == 0].any()
    assert found[cv2.erode(octagon().astype(np.uint8), around) > 0].all()


def test_stills_of_twelve_bits_are_seen_as_the_evaluation_sees_them_and_known_by_what_ingest_stored(tmp_path: Path) -> None:
    path = tmp_path / "in/deep.png"
    path.parent.mkdir()
    deep = np.asarray(Image.fromarray(tissue(0).clip(0, 255).astype(np.uint8)).convert("L")).astype(np.uint16) * 16
    deep[0, 0] = 4095
    Image.fromarray(deep).save(path)
    with open_lake(tmp_path / "lake", create=True) as lake:
        ingest(lake, path, config=NOW)
        (row,) = lake.rows("SELECT frame_id FROM frames")
        remove(lake, row["frame_id"], "identified_in_audit")
        (video,), _ = find_inputs([str(path)])
        with opened_for_playback(video, replace(NOW, text="off"), scratch=tmp_path / "s", grey=eight_bit) as opened:
            (frame,) = opened.frames()
            assert np.array_equal(frame.rgb[..., 0], np.round(deep * (255 / 4095)).astype(np.uint8))
            assert withheld_frames(opened, (), removed_hashes(lake)) == {0: "identified_in_audit"}
        with opened_for_playback(video, replace(NOW, text="off"), scratch=tmp_path / "s") as as_stored:
            assert next(iter(as_stored.frames())).rgb.max() == 15
            assert as_stored.stored_hashes == {}


def test_inputs_that_overlap_are_one_row_and_fifos_are_named(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b1"):
        still(tmp_path / f"in/{name}.png")
    os.mkfifo(tmp_path / "in/pipe.mp4")
    names = [str(tmp_path / "in/a1.png"), str(tmp_path / "in/a*.png"), str(tmp_path / "in/b*.png")]
    videos, failures = find_inputs([*names, str(tmp_path / "missing.mp4")])
    assert [[Path(image).stem for image in video.images] for video in videos] == [["a1", "a2", "b1"]]
    assert [name for name, _ in failures] == [str(tmp_path / "missing.mp4")]
    videos, failures = find_inputs([str(tmp_path / "in"), names[0]])
    assert [len(video.images) for video in videos] == [3]
    assert failures == [(str(tmp_path / "in/pipe.mp4"), "a FIFO (named pipe); give videos and images")]


def test_a_folder_goes_on_with_its_own_plan_alone(tmp_path: Path) -> None:
    plan = plan_run(stage="predict", version=1, config="a", inputs=[])
    video = VideoRef(video_id="v", path="/odd\udcff/name.mp4", num_bytes=1)
    near = ArchiveFrame(jpeg=b"\xff\xd8n", video_id="w", time_s=1.5, similarity=0.25)
    episode = TimelineEpisode(start=0.0, end=1.0, label="polyp", peak=0.9, peak_at=0.5, nearest=(near,))
    row = TimelineRow(
        name="name\udcff.mp4",
        in_time=True,
        positions=(0.0, 1.0),
        values=(0.5, 0.9),
        hidden=(False, True),
        unlike=(),
        episodes=(episode,),
        pictures=(TimelinePicture(jpeg=b"\xff\xd8p", position=0.5, label="polyp", value=0.9),),
        notes=("short",),
    )
    part = PredictedPart(row=row, failures=(("x.png", "torn"),), num_frames=2, seconds=0.5, seconds_in_network=0.25)
    out = tmp_path / "out"
    claim_folder(out, plan)
    assert read_part(out, "001-name", video) is None
    part_table(out, "001-name").parent.mkdir()
    write_part(out, "001-name", video, part)
    claim_folder(out, plan)
    assert read_part(out, "001-name", video) == part
    assert read_part(out, "001-name", replace(video, video_id="another")) is None
    with pytest.raises(ValueError, match="not empty"):
        claim_folder(out, plan_run(stage="predict", version=1, config="b", inputs=[]))
