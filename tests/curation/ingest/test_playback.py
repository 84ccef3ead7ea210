"""What may be seen of a frame is what ingest would store of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import MPEG4HP41

from curation.filters import ContentArea
from curation.ingest import IngestConfig, opened_for_playback, visible_mask
from curation.ingest.scan import Sample
from curation.privacy import Box
from curation.sources import LeftForLater, find_videos, identify
from curation.video import UnreadableVideo, h264_writer
from tests.helpers.dicom_files import stream, write_dicom
from tests.helpers.films import room, tissue, write_video
from warehouse.records import VideoRef


def sample(boxes: tuple[Box, ...] | None) -> Sample:
    return Sample(
        frame_index=0,
        pts_us=0,
        scores={},
        colors=np.zeros((2, 36), np.float32),
        phash=0,
        is_corrupt=False,
        spool_offset=0,
        spool_size=0,
        area=ContentArea(x=20, y=10, width=40, height=40, shape="rectangle"),
        stored_size=(20, 20),
        stored_mask=np.full((20, 20), 255, np.uint8),
        text_boxes=boxes,
    )


def test_the_outside_of_the_content_area_and_boxes_over_text_are_hidden() -> None:
    mask = visible_mask(sample((Box(5, 5, 4, 2),)), (60, 100))
    assert mask.shape == (60, 100)
    assert not mask[:10].any()
    assert not mask[50:].any()
    assert not mask[:, :20].any()
    assert not mask[:, 60:].any()
    hidden = np.argwhere(mask[10:50, 20:60] == 0)
    assert (hidden.min(0).tolist(), hidden.max(0).tolist()) == ([8, 8], [15, 19]), "a stored pixel wider on each side"


def test_a_frame_in_which_nobody_looked_for_text_is_hidden_whole() -> None:
    assert not visible_mask(sample(None), (60, 100)).any()


def identified(path: Path) -> VideoRef:
    found = identify(find_videos([str(path)])[0])
    assert isinstance(found, VideoRef)
    return found


def test_rooms_are_hidden_and_tissue_is_played(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", [*(tissue(n) for n in range(12)), *(room(n) for n in range(12))])
    with opened_for_playback(identified(film), IngestConfig(text="off"), scratch=tmp_path / "scratch") as playback:
        frames = list(playback.frames())
        assert [frame.frame_index for frame in frames] == list(range(24))
        assert playback.in_time
        reasons = [playback.hidden(frame.frame_index) for frame in frames]
        assert reasons[:6] == [None] * 6
        assert reasons[-6:] == ["out_of_body"] * 6
        assert playback.hidden(999) == "unchecked"


def test_what_is_no_video_says_why(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(UnreadableVideo), opened_for_playback(identified(tmp_path / "notes.mp4"), IngestConfig(), scratch=tmp_path / "s"):
        pass


def test_a_written_video_keeps_times_and_takes_odd_sides(tmp_path: Path) -> None:
    colour = np.full((33, 51, 3), (200, 60, 40), np.uint8)
    with h264_writer(tmp_path / "o.mp4", (51, 33)) as write:
        for pts_us in (0, 40_000, 1_000_000):
            write(colour, pts_us)
        write(cv2.resize(colour, (80, 80)), 1_500_000)
    with av.open(str(tmp_path / "o.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [round(float(frame.time), 3) for frame in frames] == [0, 0.04, 1, 1.5]
    assert all((frame.width, frame.height) == (52, 34) for frame in frames)
    np.testing.assert_allclose(frames[0].to_ndarray(format="rgb24")[5:25, 5:45].mean((0, 1)), [200, 60, 40], atol=12)


def test_a_dicom_video_is_unwrapped_and_played(tmp_path: Path) -> None:
    dicom = write_dicom(tmp_path / "film.dcm", MPEG4HP41, [stream("libx264", "mp4", seconds=2)])
    with opened_for_playback(identified(dicom), IngestConfig(text="off"), scratch=tmp_path / "scratch") as playback:
        assert playback.header.container.startswith("dicom/")
        assert [frame.pts_us for frame in playback.frames()] == [0, 1_000_000]


def still(number: int) -> Image.Image:
    return Image.fromarray(tissue(number).clip(0, 255).astype(np.uint8))


def test_frames_too_dark_to_tell_a_room_are_hidden(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", [*(tissue(n) for n in range(6)), *(np.full_like(tissue(0), 4) for _ in range(14))])
    config = IngestConfig(text="off", out_of_body_window_s=0)
    with opened_for_playback(identified(film), config, scratch=tmp_path / "scratch") as playback:
        assert playback.hidden(2) is None
        assert {playback.hidden(number) for number in range(12, 20)} == {"out_of_body_unchecked"}


def test_every_page_of_a_still_is_played(tmp_path: Path) -> None:
    folder = tmp_path / "stills"
    folder.mkdir()
    still(0).save(folder / "a.tif", save_all=True, append_images=[still(1), still(2)])
    still(3).save(folder / "b.png")
    with opened_for_playback(identified(folder), IngestConfig(text="off"), scratch=tmp_path / "scratch") as playback:
        frames = list(playback.frames())
    assert [playback.pages[frame.frame_index] for frame in frames] == [(0, 0), (1, 0), (0, 1), (0, 2)]
    np.testing.assert_array_equal(frames[2].rgb, np.asarray(still(1)))


@pytest.mark.parametrize("change", ["gone", "replaced"])
def test_what_changes_between_scan_and_playback_is_left(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "stills"
    folder.mkdir()
    for number in range(2):
        still(number).save(folder / f"{number}.png")
    with opened_for_playback(identified(folder), IngestConfig(text="off"), scratch=tmp_path / "scratch") as playback:
        if change == "gone":
            (folder / "1.png").unlink()
        else:
            still(2).save(folder / "1.png")
        with pytest.raises(LeftForLater):
            list(playback.frames())


def test_a_frame_that_is_withheld_is_hidden(tmp_path: Path) -> None:
    still(0).save(tmp_path / "a.png")
    with opened_for_playback(identified(tmp_path / "a.png"), IngestConfig(text="off"), scratch=tmp_path / "s") as playback:
        assert playback.hidden(0) is None
        assert replace(playback, withheld={0: "identified_in_audit"}).hidden(0) == "identified_in_audit"
