"""Streams that appear late, timestamps that start again or are wild, containers without presentation times, files cut short."""

import contextlib
import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from curation.video import DecoderDisagreement, DecodeReport, probe
from curation.video.clock import continued
from curation.video.file_ends import file_problems
from curation.video.packet_index import index_packets
from curation.video.reader import sample_frames
from tests.helpers.clips import FORMATS, Format, moving_picture, write_clip

FILM = [moving_picture(number) for number in range(30)]  # ten a second
TENTH_US = 100_000


def number_of(rgb: np.ndarray) -> int:
    return int(np.argmin([np.abs(rgb.astype(int) - picture).mean() for picture in FILM]))


def decoded(path: Path) -> tuple[list[tuple[int, int]], DecodeReport]:
    """Time in tenths of a second and number of the picture, of every frame."""
    report = DecodeReport()
    frames = list(sample_frames(str(path), fps=0, decoder="pyav", report=report, thorough=True))
    assert all(one.pts_us < other.pts_us for one, other in itertools.pairwise(frames))
    return [(round(frame.pts_us / TENTH_US), number_of(frame.rgb)) for frame in frames], report


def with_sound(source: Path, target: Path, *, begins_s: float) -> Path:
    """The film with a stream of sound."""
    with av.open(str(source)) as film, av.open(str(target), "w") as container:
        stream = film.streams.video[0]
        picture = container.add_stream_from_template(stream)
        sound = container.add_stream("mp2", rate=32000, layout="mono")
        assert stream.time_base is not None
        shift = round(begins_s / stream.time_base)
        for packet in film.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, picture
                container.mux(packet)
        for number in range(50):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 32000, round(begins_s * 32000) + 1152 * number, Fraction(1, 32000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return target


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def test_streams_that_appear_late_cost_no_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    noise = [rng.integers(0, 255, (128, 192, 3), np.uint8) for _ in range(200)]
    large = Format("mpg", "mpeg2video", options={"bf": "2", "b": "100M", "qmin": "1", "qmax": "1"})
    silent = write_clip(tmp_path / "silent.mpg", noise, large, fps=25)
    path = joined(tmp_path / "a.mpg", silent, with_sound(silent, tmp_path / "sound.mpg", begins_s=9))
    with av.open(str(path)) as container:  # FFmpeg looks at 5 MB for streams
        assert len(container.streams) == 1
        with contextlib.suppress(IndexError):  # of PyAV 18, which Python 3.11 gets
            for _ in container.demux(video=0):
                pass
    report = DecodeReport()
    frames = list(sample_frames(str(path), fps=0, decoder="pyav", report=report, thorough=True))
    assert len(frames) == 400
    assert report.problems == []


def test_a_flipped_bit_in_a_stream_id_costs_no_other_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mpg", FILM, Format("mpg", "mpeg2video", options={"bf": "0"}), fps=25, gop=1)
    content = bytearray(path.read_bytes())
    ids = [place for place in range(len(content) - 4) if content[place : place + 4] == b"\0\0\1\xe0"]
    content[ids[len(ids) // 2] + 3] ^= 0x20  # now a stream of sound
    path.write_bytes(bytes(content))
    frames, _ = decoded(path)
    assert len(frames) >= 28
    assert frames[-1][1] == 29


@pytest.mark.parametrize(("name", "num_frames"), [("mpeg2-mpg", 60), ("h264-ts", 60), ("h264-mkv", 60)])
def test_what_follows_a_restart_is_placed_behind_it(name: str, num_frames: int, tmp_path: Path) -> None:
    one = write_clip(tmp_path / f"one.{FORMATS[name].suffix}", FILM, FORMATS[name], fps=25)
    frames, report = decoded(joined(tmp_path / f"a.{FORMATS[name].suffix}", one, one))
    assert [number for _, number in frames] == [*range(30), *range(30)]
    assert len(frames) == num_frames
    assert any("start again 1 times" in note for note in report.notes)
    with pytest.raises(DecoderDisagreement):
        list(sample_frames(str(tmp_path / f"a.{FORMATS[name].suffix}"), fps=1, decoder="decord"))
    every = [frame.pts_us for frame in sample_frames(str(tmp_path / f"a.{FORMATS[name].suffix}"), fps=5, decoder="pyav")]
    assert every == [200_000 * number for number in range(12)]


@pytest.mark.parametrize("fps", [0, 1, 5])
def test_h264_with_b_frames_in_avi_has_all_frames_in_order(fps: int, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", FILM, Format("avi", "libx264", options={"bf": "3", "b-adapt": "0"}))
    index = index_packets(str(path))
    assert index.is_decoding_order
    report = DecodeReport()
    found = [
        (frame.frame_index, frame.pts_us, number_of(frame.rgb))
        for frame in sample_frames(str(path), fps=fps, decoder="pyav", report=report)
    ]
    assert found == [(number, number * TENTH_US, number) for number in range(0, 30, 10 // fps if fps else 1)]
    assert report.problems == []
    keys = [(frame.frame_index, number_of(frame.rgb)) for frame in sample_frames(str(path), fps=0, keyframes=True)]
    assert keys == [(0, 0), (10, 10), (20, 20)]
    with pytest.raises(DecoderDisagreement):
        list(sample_frames(str(path), fps=1, decoder="decord"))


def test_a_stream_without_a_container_has_its_frames_in_order(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.h264", FILM, Format("h264", "libx264", options={"bf": "3", "b-adapt": "0"}))
    frames, _ = decoded(path)
    assert [number for _, number in frames] == [*range(30)]
    assert [frame.frame_index for frame in sample_frames(str(path), fps=0, keyframes=True)] == [0, 10, 20]


def clock(dts: list[int], pts: list[int | None] | None = None) -> list[int]:
    """Milliseconds, 40 a frame."""
    return [int(time) for time in continued(pts or dts, dts, time_base=Fraction(1, 1000), frame_ticks=40).pts]


def test_a_clock_goes_on_where_timestamps_start_again() -> None:
    assert clock([0, 40, 80, 120, 0, 40, 80]) == [0, 40, 80, 120, 160, 200, 240]
    assert clock([500_000, 500_040, 0, 40]) == [500_000, 500_040, 500_080, 500_120]
    assert clock([0, 40, 80, 120, 0, 40], [40, 160, 80, 120, 40, 80]) == [40, 160, 80, 120, 200, 240]


def test_a_pause_a_rare_picture_and_jitter_are_no_restart() -> None:
    for times in ([0, 40, 7_200_000, 7_200_040], [0, 24_000, 48_000, 72_000], [0, 40, 39, 80]):
        result = continued(times, times, time_base=Fraction(1, 1000), frame_ticks=40)
        assert (result.pts.tolist(), result.num_restarts, result.num_replaced) == (times, 0, 0)


@pytest.mark.parametrize("wild", [9_000_000, -9_000_000])
def test_a_wild_timestamp_is_interpolated_and_shifts_no_other(wild: int) -> None:
    times = list(range(0, 4000, 40))
    result = continued([*times[:50], wild, *times[51:]], [*times[:50], wild, *times[51:]], time_base=Fraction(1, 1000), frame_ticks=40)
    assert (result.pts.tolist(), result.num_restarts, result.num_replaced) == (times, 0, 1)
    alone = continued([*times[:50], wild, *times[51:]], times, time_base=Fraction(1, 1000), frame_ticks=40)
    assert (alone.pts.tolist(), alone.num_replaced) == (times, 1)


def remuxed(source: Path, target: Path, *, options: dict[str, str]) -> Path:
    """The film's packets in a new file, written with these options of the format."""
    with av.open(str(source)) as film, av.open(str(target), "w", options=options) as container:
        stream = container.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return target


def fragmented(path: Path) -> Path:
    whole = write_clip(path.with_name("whole.mp4"), FILM, FORMATS["h264-mp4"])
    return remuxed(whole, path, options={"movflags": "frag_keyframe+empty_moov"})


def test_a_fragmented_file_cut_short_is_flagged_and_a_whole_one_is_not(tmp_path: Path) -> None:
    path = fragmented(tmp_path / "a.mp4")
    assert decoded(path)[1].problems == []
    path.write_bytes(path.read_bytes()[: 2 * path.stat().st_size // 3])
    frames, report = decoded(path)
    assert 5 <= len(frames) < 30
    assert any("cut short" in problem for problem in report.problems)


@pytest.mark.parametrize("name", ["h264-ts", "mpeg2-ts"])
def test_a_transport_stream_cut_short_is_flagged_and_a_whole_one_is_not(name: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", FILM, FORMATS[name])
    assert file_problems(str(path), "mpegts", 0x100) == []
    assert decoded(path)[1].problems == []
    path.write_bytes(path.read_bytes()[: 188 * (path.stat().st_size // 376) + 100])
    assert any("last packet has 100 of 188 bytes" in problem for problem in decoded(path)[1].problems)


def test_video_under_another_identifier_is_read_or_named_as_not_read(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.ts", FILM * 8, FORMATS["mpeg2-ts"])
    first, other = (remuxed(source, tmp_path / f"{number}.ts", options={"mpegts_start_pid": str(number)}) for number in (0x100, 0x200))
    same = joined(tmp_path / "same.ts", first, first)
    assert not any("identifier" in problem for problem in file_problems(str(same), "mpegts", 0x100))
    for path in (joined(tmp_path / "late.ts", first, first, other), joined(tmp_path / "middle.ts", first, other, first)):
        (problem,) = file_problems(str(path), "mpegts", 0x100)
        assert "identifier" in problem
        assert 0.2 <= int(problem.split("%")[0].split()[-1]) / 100 <= 0.45


def test_a_second_film_in_one_file_is_named_as_not_read(tmp_path: Path) -> None:
    one = write_clip(tmp_path / "one.mp4", FILM, FORMATS["h264-mp4"])
    frames, report = decoded(joined(tmp_path / "a.mp4", one, one))
    assert len(frames) == 30
    assert any("a second film follows" in problem for problem in report.problems)
    assert decoded(one)[1].problems == []


def test_the_clock_of_raw_dv_is_not_its_frame_rate(tmp_path: Path) -> None:
    pictures = [moving_picture(number, 720, 576) for number in range(5)]
    path = write_clip(tmp_path / "a.dv", pictures, Format("dv", "dvvideo"), fps=25)
    assert probe(str(path)).fps == 25
