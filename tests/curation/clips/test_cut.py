"""Real cuts of small generated films: what is refused, what is shortened, and what the MP4s show."""

import json
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.clips import ClipConfig, ClipVideo, CutVideo, Moment, cut_video
from curation.filters import shrink
from curation.ingest import IngestConfig
from curation.packs import read_frame
from curation.sources import identify
from curation.video import decode_clip
from tests.helpers.clips import moving_picture
from tests.helpers.films import room
from warehouse.records import VideoRef

INGEST = IngestConfig(text="off", min_blur=0)  # drawn tissue is smooth
CONFIG = ClipConfig(clip_seconds=2, clip_fps=10, clip_side=64, clip_min_frames=8)


def film(path: Path, pictures: Sequence[np.ndarray], times_ms: Sequence[int], *, shift_ms: int = 0) -> Path:
    """One stream with a frame at each time, at whatever distances these are."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "12", "bf": "0"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        for picture, moment in zip(pictures, times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = moment + shift_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tissue(number: int, width: int = 128, height: int = 96) -> np.ndarray:
    return moving_picture(number, width, height)


def cut(
    path: Path,
    seconds: int,
    *,
    config: ClipConfig = CONFIG,
    reasons: dict[int, str] | None = None,
    boxes: str | None = None,
    ingest: IngestConfig = INGEST,
) -> CutVideo:
    video = identify(VideoRef(video_id="", path=str(path), num_bytes=path.stat().st_size))
    assert isinstance(video, VideoRef)
    moments = tuple(
        Moment(pts_us=1_000_000 * second, drop_reason=(reasons or {}).get(second), text_boxes=boxes, width=128, height=96)
        for second in range(seconds)
    )
    item = ClipVideo(video=video, ingest_key="i" * 64, ingest=ingest, cut_key="c" * 64, moments=moments)
    return cut_video(item, lake_root=str(path.parent / "lake"), config=config, removed={})


def rows(path: Path, done: CutVideo) -> list[dict[str, Any]]:
    assert done.part is not None
    found: list[dict[str, Any]] = pq.read_table(path.parent / "lake" / done.part).to_pylist()
    return found


def test_a_film_of_variable_rate_becomes_clips_of_a_constant_one(tmp_path: Path) -> None:
    times = [*range(0, 1000, 100), *range(1000, 2000, 50), *range(2000, 2700, 100)]
    path = film(tmp_path / "vfr.mkv", [tissue(number) for number in range(len(times))], times)
    done = cut(path, 3)
    first, second = rows(path, done)
    assert (first["start_us"], first["end_us"], first["num_source_frames"], first["num_frames"]) == (0, 1_950_000, 30, 20)
    assert (first["width"], first["height"], first["fps"], first["keep"]) == (86, 64, 10, True)
    assert json.loads(first["frames_by_reason"]) == {"kept": 30}
    assert (second["keep"], second["drop_reason"], second["num_frames"]) == (False, "too_short", 7)
    assert done.row is not None
    assert (done.row["num_clips"], done.row["num_kept"]) == (2, 1)
    content = read_frame(tmp_path / "lake" / done.row["path"], first["byte_offset"], first["byte_size"])
    (shown,) = decode_clip(content, [15])
    # after one second the film runs at twice the rate: the clip shows every second frame there
    away = [np.abs(shown[:20].astype(int) - shrink(tissue(number), 86, 64)[:20]).mean() for number in range(27)]
    assert int(np.argmin(away)) == 20
    assert cut(path, 3) == done  # as it was, without decoding
    assert first["clip_id"].startswith(done.row["video_id"][:16])


def test_a_clip_ends_where_the_room_begins_and_boxes_of_samples_stay_black(tmp_path: Path) -> None:
    pictures = [tissue(number) for number in range(40)]
    for number in range(32, 40):
        pictures[number] = room(number)[:96, :128].astype(np.uint8)
    path = film(tmp_path / "room.mp4", pictures, range(0, 4000, 100))
    done = cut(path, 4, boxes="[[0, 0, 40, 20]]")
    first, second = rows(path, done)
    assert (first["keep"], first["num_frames"], json.loads(first["text_boxes"])) == (True, 20, [[0, 0, 28, 15]])
    assert 0 < first["text_share"] < 0.1
    assert second["end_us"] < 3_200_000 or second["drop_reason"] == "out_of_body"
    assert done.row is not None
    content = read_frame(tmp_path / "lake" / done.row["path"], first["byte_offset"], first["byte_size"])
    for frame in decode_clip(content, range(0, 20, 4)):
        assert frame[2:12, 2:24].max() < 24
        assert frame[30:, 40:].mean() > 60


@pytest.mark.parametrize("every_s", [0, 0.5])
def test_text_of_a_fifth_of_a_second_is_found(tmp_path: Path, every_s: float) -> None:
    pictures = [tissue(number, 384, 288) for number in range(8)]
    for number in (2, 3):  # looks are at 0, 500 and 700 ms
        cv2.putText(pictures[number], "DOE JOHN 1953", (90, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2, cv2.LINE_AA)
    path = film(tmp_path / "flash.mp4", pictures, range(0, 800, 100))
    ingest = IngestConfig(text="blackout", min_blur=0)
    config = ClipConfig(clip_seconds=1, clip_fps=10, clip_side=288, clip_min_frames=8, clip_text_every_s=every_s)
    (row,) = rows(path, cut(path, 1, config=config, ingest=ingest))
    left, top, width, height = np.array(json.loads(row["text_boxes"])).T
    assert left.min() <= 94
    assert top.min() <= 48
    assert (left + width).max() >= 240
    assert (top + height).max() >= 58


def test_a_change_of_size_divides_a_clip_and_a_still_picture_ends_it(tmp_path: Path) -> None:
    one = film(tmp_path / "one.ts", [tissue(number) for number in range(12)], range(0, 1200, 100))
    other = film(tmp_path / "two.ts", [tissue(number, 160, 96) for number in range(12)], range(0, 1200, 100), shift_ms=1200)
    path = tmp_path / "joined.ts"
    path.write_bytes(one.read_bytes() + other.read_bytes())
    sizes = [
        (row["width"], row["height"]) for row in rows(path, cut(path, 2, config=ClipConfig(clip_seconds=5, clip_fps=10, clip_side=64)))
    ]
    assert sizes[:2] == [(86, 64), (106, 64)]
    still = film(tmp_path / "still.mp4", [tissue(min(number, 12)) for number in range(40)], range(0, 4000, 100))
    found = rows(still, cut(still, 4))
    assert (found[0]["keep"], found[0]["num_frames"]) == (True, 20)  # still for less than a second of it
    assert (found[1]["keep"], found[1]["drop_reason"]) == (False, "frozen")


def test_a_file_that_cannot_be_read_is_a_reject_and_one_that_is_gone_is_left(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_bytes(b"no video at all" * 100)
    done = cut(text, 3)
    assert (done.row, done.reason) == (None, "not_a_video")
    path = film(tmp_path / "film.mp4", [tissue(number) for number in range(20)], range(0, 2000, 100))
    video = VideoRef(video_id="0" * 64, path=str(path), num_bytes=1, version="1-1")
    moments = (Moment(pts_us=0, drop_reason=None, text_boxes=None, width=None, height=None),)
    item = ClipVideo(video=video, ingest_key="i" * 64, ingest=INGEST, cut_key="d" * 64, moments=moments)
    changed = cut_video(item, lake_root=str(tmp_path / "lake"), config=CONFIG, removed={})
    assert changed.left is not None
    assert changed.left.reason == "changed"
    path.unlink()
    gone = cut_video(item, lake_root=str(tmp_path / "lake"), config=CONFIG, removed={})
    assert gone.left is not None
    assert gone.left.reason == "missing"


def test_windows_of_which_the_file_has_nothing_are_refused_and_counted(tmp_path: Path) -> None:
    path = film(tmp_path / "short.mp4", [tissue(number) for number in range(20)], range(0, 2000, 100))
    found = rows(path, cut(path, 5))
    assert [(row["drop_reason"], row["num_source_frames"]) for row in found[1:]] == [("no_frame", 0), ("no_frame", 0)]


@pytest.mark.real_data
@pytest.mark.skipif("ENDOFORGE_REAL_DATA" not in os.environ, reason="ENDOFORGE_REAL_DATA is not set")
def test_real_videos_of_several_containers_become_clips(tmp_path: Path) -> None:
    real_data = Path(os.environ["ENDOFORGE_REAL_DATA"])
    found = {}
    for name in (
        "colonoscopy/cvc_seq01.mp4",
        "colonoscopy/cvc_seq09.mpg",
        "colonoscopy/cvc_seq23.webm",
        "damaged/bad_truncated_no_moov.mp4",
    ):
        path = tmp_path / name.rpartition("/")[2]
        path.symlink_to(real_data / "videos" / name)
        done = cut(path, 1 if name.endswith(".mpg") else 5, config=ClipConfig(clip_side=128))
        found[path.name] = (
            [(row["num_source_frames"], row["num_frames"], row["drop_reason"]) for row in rows(path, done)] if done.part else done.reason
        )
    assert found == {
        "cvc_seq01.mp4": [(25, 150, None)],
        "cvc_seq09.mpg": [(22, 26, None)],
        "cvc_seq23.webm": [(12, 72, None)],
        "bad_truncated_no_moov.mp4": "undecodable",
    }
