"""Every container and codec that ingest lists, and what about their timing and pictures is easily got wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_video
from curation.phantom.config import PhantomConfig
from curation.phantom.patient import draw_patient
from curation.phantom.script import draw_script
from curation.phantom.video import render_frames
from curation.sources.discover import hash_video
from curation.video import Decoder, DecoderDisagreement, DecodeReport, SampledFrame, index_packets, overview_frames, probe
from curation.video.reader import sample_frames
from tests.helpers.clips import FORMATS, Format, moving_picture, write_clip

FILM = [moving_picture(number) for number in range(30)]  # 3 seconds; picture 32 would be the first again
READ_BY_DECORD = {
    *("h264-mp4", "h264-mov", "h264-mkv", "h264-avi", "h264-10bit-mp4"),
    *("hevc-mp4", "hevc-mkv", "hevc-10bit-mp4", "mpeg4-avi", "vp9-webm", "vp9-mkv"),
}


def sample(path: Path, decoder: Decoder, fps: float = 2) -> list[SampledFrame]:
    return list(sample_frames(str(path), fps=fps, decoder=decoder))


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def number_of(rgb: np.ndarray) -> int:
    """Which picture of the film this is."""
    return int(np.argmin([difference(rgb, picture) for picture in FILM]))


@pytest.mark.parametrize("name", FORMATS)
def test_decoders_sample_the_same_frames_or_decord_declines(name: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / f"a.{FORMATS[name].suffix}", FILM, FORMATS[name])
    report = DecodeReport()
    by_pyav = list(sample_frames(str(path), fps=2, decoder="pyav", report=report))
    assert [(frame.frame_index, frame.pts_us, number_of(frame.rgb)) for frame in by_pyav] == [
        (number, 100_000 * number, number) for number in range(0, 30, 5)
    ]
    assert (report.num_frames_decoded + report.num_frames_skipped, report.num_frames_corrupt, report.problems) == (30, 0, [])
    if name not in READ_BY_DECORD:
        with pytest.raises(DecoderDisagreement):
            sample(path, "decord")
        return
    by_decord = sample(path, "decord")
    assert [(frame.frame_index, frame.pts_us) for frame in by_decord] == [(frame.frame_index, frame.pts_us) for frame in by_pyav]
    assert max(difference(one.rgb, other.rgb) for one, other in zip(by_decord, by_pyav, strict=True)) < 2


@pytest.mark.parametrize("name", [name for name in FORMATS if name.startswith(("h264", "hevc"))])
@pytest.mark.parametrize("fps", [1, 3, 7])
def test_leaving_frames_out_changes_no_sample(name: str, fps: int, tmp_path: Path) -> None:
    options = FORMATS[name].options if "avi" in name else {"bf": "3"}
    wanted = dataclasses.replace(FORMATS[name], options=options)
    path = str(write_clip(tmp_path / f"a.{wanted.suffix}", FILM, wanted, gop=12))
    reports = DecodeReport(), DecodeReport()
    quick = list(sample_frames(path, fps=fps, decoder="pyav", report=reports[0]))
    thorough = list(sample_frames(path, fps=fps, decoder="pyav", report=reports[1], thorough=True))
    assert [(frame.frame_index, frame.pts_us) for frame in quick] == [(frame.frame_index, frame.pts_us) for frame in thorough]
    assert max(difference(one.rgb, other.rgb) for one, other in zip(quick, thorough, strict=True)) == 0
    passed = [report.num_frames_decoded + report.num_frames_skipped for report in reports]
    assert passed == [reports[1].num_frames_decoded] * 2
    assert dataclasses.replace(reports[0], num_frames_decoded=passed[0], num_frames_skipped=0) == reports[1]


def with_edit_list(path: Path, *, hidden_s: float) -> Path:
    """The film with an edit list that begins in the middle of a group of pictures: what lies before it is decoded and not shown."""
    whole = write_clip(path.with_name("whole.mp4"), FILM, FORMATS["h264-mp4"])
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        assert stream.time_base is not None
        shift = round(hidden_s / stream.time_base)
        for packet in source.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                target.mux(packet)
    return path


def open_gop(path: Path) -> Path:
    settings = "keyint=10:min-keyint=10:scenecut=0:open-gop=1:bframes=3:log-level=0"
    return write_clip(path, FILM, Format("mkv", "libx264", options={"x264-params": settings}))


@pytest.mark.parametrize("suffix", ["mov", "mp4"])
def test_of_an_edit_list_only_what_is_shown_is_sampled_from_its_first_moment(suffix: str, tmp_path: Path) -> None:
    path = with_edit_list(tmp_path / f"a.{suffix}", hidden_s=0.7)
    assert index_packets(str(path)).has_hidden
    samples = [(frame.frame_index, frame.pts_us, number_of(frame.rgb)) for frame in sample(path, "pyav")]
    assert samples == [(0, 0, 7), (5, 500_000, 12), (10, 1_000_000, 17), (15, 1_500_000, 22), (20, 2_000_000, 27)]


@pytest.mark.parametrize("kind", ["open GOP", "edit list"])
def test_where_decord_gives_wrong_frames_it_is_not_used(kind: str, tmp_path: Path) -> None:
    decord = pytest.importorskip("decord")
    path = open_gop(tmp_path / "a.mkv") if kind == "open GOP" else with_edit_list(tmp_path / "a.mov", hidden_s=0.7)
    right = {frame.frame_index: number_of(frame.rgb) for frame in sample(path, "pyav", fps=1)}
    reader = decord.VideoReader(str(path), num_threads=1)
    by_decord = {number: number_of(reader.get_batch([number]).asnumpy()[0]) for number in right}
    assert by_decord[0] == right[0]
    assert by_decord[10] != right[10]
    assert by_decord[20] != right[20]
    with pytest.raises(DecoderDisagreement):
        sample(path, "decord", fps=1)
    result = ingest_video(hash_video(str(path)), lake_root=str(tmp_path / "lake"), config=IngestConfig())
    assert result.video is not None
    assert (result.video.decoder, result.video.status) == ("PyAV", "ok")


def test_frames_that_an_avi_recorder_dropped_are_not_missing(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.avi", FILM, FORMATS["mpeg4-avi"])
    path = tmp_path / "a.avi"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                late = 5 if packet.pts >= 12 else 0  # the writer fills the gap with empty chunks
                packet.pts, packet.dts, packet.stream = packet.pts + late, packet.dts + late, copy
                target.mux(packet)
    assert probe(str(path)).num_frames_declared == 35
    decoders: tuple[Decoder, ...] = ("decord", "pyav")
    for decoder in decoders:
        report = DecodeReport()
        frames = list(sample_frames(str(path), fps=1, decoder=decoder, report=report))
        assert [(frame.frame_index, frame.pts_us) for frame in frames] == [(0, 0), (10, 1_000_000), (15, 2_000_000), (25, 3_000_000)]
        assert (report.num_frames_decoded + report.num_frames_skipped, report.problems) == (30, [])


INTERLACED = {
    "h264": Format("mp4", "libx264", options={"x264-params": "tff=1:log-level=0", "bf": "2"}),
    "h264 in a transport stream": Format("ts", "libx264", options={"flags": "+ildct+ilme"}),
    "hevc": Format("mkv", "libx265", options={"x265-params": "interlace=tff:log-level=none"}),
    "mpeg2": Format("mpg", "mpeg2video", options={"flags": "+ildct+ilme", "bf": "2"}),
    "mpeg4": Format("avi", "mpeg4", options={"flags": "+ildct+ilme"}),
}


def passing_bar(moment: int) -> np.ndarray:
    rgb = np.full((96, 128, 3), 60, np.uint8)
    rgb[10:16] = 120
    rgb[30:, 4 * moment : 4 * moment + 20] = 200
    return rgb


def woven(number: int) -> np.ndarray:
    """The frame of two moments, the second one in the odd lines."""
    rgb = passing_bar(2 * number)
    rgb[1::2] = passing_bar(2 * number + 1)[1::2]
    return rgb


def error_of(rgb: np.ndarray, number: int) -> float:
    """Mean absolute difference to the nearer of the frame's two moments."""
    return min(difference(rgb, passing_bar(2 * number)), difference(rgb, passing_bar(2 * number + 1)))


@pytest.mark.parametrize("keyframes", [False, True])
@pytest.mark.parametrize("name", INTERLACED)
def test_interlaced_frames_show_one_moment_at_their_own_time(name: str, keyframes: bool, tmp_path: Path) -> None:
    path = write_clip(tmp_path / f"a.{INTERLACED[name].suffix}", [woven(number) for number in range(12)], INTERLACED[name], gop=4)
    with pytest.raises(DecoderDisagreement):
        sample(path, "decord", fps=0)
    frames = list(sample_frames(str(path), fps=0, decoder="pyav", keyframes=keyframes))
    assert [frame.pts_us for frame in frames] == [100_000 * frame.frame_index for frame in frames]
    assert len(frames) == 12 or (keyframes and len(frames) >= 3)
    assert max(error_of(frame.rgb, frame.frame_index) for frame in frames) < 0.5 * min(
        error_of(woven(number), number) for number in range(12)
    )


@pytest.mark.parametrize("name", ["h264", "mpeg2"])
def test_the_overview_of_an_interlaced_video_shows_one_moment_as_well(name: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / f"a.{INTERLACED[name].suffix}", [woven(number) for number in range(12)], INTERLACED[name], gop=4)
    pictures = overview_frames(str(path), num_frames=3, max_side=128)
    assert len(pictures) >= 2
    assert all(min(error_of(rgb, number) for number in range(12)) < 0.5 * error_of(woven(3), 3) for rgb in pictures)


def test_a_turned_interlaced_picture_is_both_upright_and_whole(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [woven(number) for number in range(4)], INTERLACED["h264"])
    content = bytearray(path.read_bytes())
    matrix = content.find(b"tkhd") + 4 + 40
    one, minus_one, zero, unit = (value.to_bytes(4, "big", signed=True) for value in (0x10000, -0x10000, 0, 0x40000000))
    content[matrix : matrix + 36] = zero + one + zero + minus_one + zero + zero + zero + zero + unit  # 90 degrees clockwise
    path.write_bytes(bytes(content))
    frames = sample(path, "pyav", fps=0)
    assert frames[1].rgb.shape == (128, 96, 3)
    assert error_of(np.rot90(frames[1].rgb), 1) < 0.5 * error_of(woven(1), 1)


@pytest.fixture(scope="module")
def phantom_film() -> list[np.ndarray]:
    config = PhantomConfig(seconds=3, fps=10, size=96)
    patient = draw_patient(0, seed=config.seed, size=config.size)
    script = draw_script(patient.seed, num_frames=30, fps=config.fps, procedure="colonoscopy")
    return [picture for picture, _ in render_frames(patient, script, fps=config.fps)]


@pytest.fixture(scope="module")
def phantom_rows(phantom_film: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return ingested(phantom_film, FORMATS["h264-mp4"], tmp_path_factory.mktemp("phantom"))


def ingested(film: list[np.ndarray], wanted: Format, folder: Path) -> list[dict[str, Any]]:
    path = write_clip(folder / f"a.{wanted.suffix}", film, wanted)
    result = ingest_video(hash_video(str(path)), lake_root=str(folder / "lake"), config=IngestConfig(fps=5))
    assert result.video is not None
    assert (result.video.status, result.video.warning) == ("ok", None)
    assert (result.video.codec, result.video.container) == (probe(str(path)).codec, probe(str(path)).container)
    rows: list[dict[str, Any]] = pq.read_table(folder / "lake" / str(result.frames_part)).to_pylist()
    return rows


@pytest.mark.parametrize("name", FORMATS)
def test_a_phantom_gives_the_same_samples_in_every_format(
    name: str, phantom_film: list[np.ndarray], phantom_rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows = ingested(phantom_film, FORMATS[name], tmp_path)
    assert [(row["frame_index"], row["pts_us"]) for row in rows] == [(2 * number, 200_000 * number) for number in range(15)]
    for row, expected in zip(rows, phantom_rows, strict=True):
        assert row["luma"] == pytest.approx(expected["luma"], abs=4)
        assert row["crop_width"] == pytest.approx(expected["crop_width"], abs=10)  # a program stream's overview is its first frames
    assert sum(row["keep"] for row in rows) >= 3
