import dataclasses
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from curation.ingest.config import IngestConfig
from curation.video import DecoderDisagreement, DecodeReport, UnreadableVideo, index_packets, overview_frames, probe
from curation.video.packet_index import PacketIndex
from curation.video.reader import choose_decoder, sample_frames
from curation.video.sampling import Sampling, choose_sampling, keyframe_spacing_s, sample_slot
from tests.helpers.clips import own_priority


def moving_square(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A frame whose position in the film can be read from its content: its square has the grey level 20 plus three times the number."""
    rgb = np.full((height, width, 3), 90, np.uint8)
    rgb[16:48, 16:48] = 20 + 3 * number
    return rgb


def number_of(rgb: np.ndarray) -> int:
    return round((float(rgb[24:40, 24:40, 1].mean()) - 20) / 3)


def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    pts: list[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    gop: int = 12,
    options: dict[str, str] | None = None,
    title: str | None = None,
) -> Path:
    pts = list(range(75)) if pts is None else pts
    with own_priority(), av.open(str(path), "w") as container:
        if title:
            container.metadata["title"] = title
        stream = container.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = time_base
        for number, ticks in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(moving_square(number), format="rgb24")
            frame.pts, frame.time_base = ticks, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def h264(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4", gop=50)


def chosen(config: IngestConfig, index: PacketIndex) -> Sampling:
    return choose_sampling(index, fps=config.fps, keyframes=config.keyframes, all_frames=config.all)


def read(path: Path, fps: float, decoder: str) -> tuple[list[tuple[int, int, int]], DecodeReport]:
    report = DecodeReport()
    frames = sample_frames(str(path), fps=fps, decoder="decord" if decoder == "decord" else "pyav", report=report)
    return [(frame.frame_index, frame.pts_us, number_of(frame.rgb)) for frame in frames], report


def test_probe_reads_the_stream_and_not_its_title(tmp_path: Path) -> None:
    result = probe(str(write_video(tmp_path / "a.mp4", title="DOE JOHN 1961")))
    assert (result.codec, result.width, result.height, result.fps) == ("h264", 96, 64, 25.0)
    assert (result.duration_s, result.num_frames_declared) == (3.0, 75)
    assert "DOE" not in repr(result)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_samples_are_the_first_frames_at_each_second(h264: Path, decoder: str) -> None:
    samples, report = read(h264, 1, decoder)
    assert samples == [(0, 0, 0), (25, 1_000_000, 25), (50, 2_000_000, 50)]
    assert report.num_frames_decoded + report.num_frames_skipped == 75
    assert report.num_frames_skipped == 0 or decoder == "pyav"
    assert report.problems == []


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mp4", "libx264", {"bf": "3", "x264-params": "keyint=12:min-keyint=12:scenecut=0:log-level=0"}),
        (".mkv", "libx264", {"x264-params": "keyint=12:min-keyint=12:scenecut=0:open-gop=1:bframes=3:log-level=0"}),
        (".mp4", "libx265", {"x265-params": "keyint=12:min-keyint=12:scenecut=0:log-level=none"}),
        (".mpg", "mpeg2video", {"bf": "2"}),
        (".avi", "mpeg4", {}),
        (".webm", "libvpx-vp9", {"deadline": "realtime"}),
        (".avi", "mjpeg", {}),
    ],
)
def test_keyframes_alone_are_the_frames_that_decoding_everything_gives(
    suffix: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = str(write_video(tmp_path / f"a{suffix}", codec=codec, options=options))
    index = index_packets(path)
    in_order = np.sort(index.pts)
    everything = {frame.frame_index: frame for frame in sample_frames(path, fps=0, decoder="pyav")}
    expected = [int(np.searchsorted(in_order, pts)) for pts in np.sort(index.pts[index.is_key])]
    assert len(expected) >= 6
    report = DecodeReport()
    found = list(sample_frames(path, fps=0, keyframes=True, report=report))
    assert [frame.frame_index for frame in found] == expected
    assert (report.decoder, report.problems, report.num_frames_decoded) == ("PyAV keyframes", [], len(expected))
    for frame in found:
        assert frame.pts_us == everything[frame.frame_index].pts_us
        assert np.abs(frame.rgb.astype(int) - everything[frame.frame_index].rgb).mean() < 0.5


def test_of_the_keyframes_the_first_at_or_after_each_time_due_is_taken(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", options={"x264-params": "keyint=12:min-keyint=12:scenecut=0:log-level=0"})
    found = [(frame.frame_index, frame.pts_us) for frame in sample_frames(str(path), fps=1, keyframes=True)]
    assert found == [(0, 0), (36, 1_440_000), (60, 2_400_000)]


@pytest.mark.parametrize(
    ("config", "gop", "expected"),
    [
        (IngestConfig(), 12, Sampling(fps=1.0, keyframes=False)),
        (IngestConfig(fps="auto"), 12, Sampling(fps=1.0, keyframes=True)),
        (IngestConfig(fps="auto"), 25, Sampling(fps=1.0, keyframes=True)),
        (IngestConfig(fps="auto"), 50, Sampling(fps=1.0, keyframes=False)),
        (IngestConfig(fps=2, keyframes=True), 50, Sampling(fps=2, keyframes=True)),
        (IngestConfig(all=True), 12, Sampling(fps=0.0, keyframes=False)),
        (IngestConfig(all=True, keyframes=True), 12, Sampling(fps=0.0, keyframes=True)),
    ],
)
def test_auto_takes_keyframes_where_they_are_close_enough(config: IngestConfig, gop: int, expected: Sampling, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", options={"x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:log-level=0"})
    index = index_packets(str(path))
    assert keyframe_spacing_s(index) == pytest.approx(gop / 25)
    assert chosen(config, index) == expected


@pytest.mark.parametrize(
    ("suffix", "codec", "config", "expected"),
    [
        (".mp4", "libx264", IngestConfig(), "pyav"),
        (".mp4", "libx265", IngestConfig(), "pyav"),
        (".avi", "mpeg4", IngestConfig(), "pyav"),  # two of three groups of 12 hold a sample, which is the keyframe
        (".avi", "mpeg4", IngestConfig(fps=25.0), "decord"),
        (".avi", "mpeg4", IngestConfig(all=True), "pyav"),
        (".webm", "libvpx-vp9", IngestConfig(), "pyav"),  # a third of it follows its last sample
        (".webm", "libvpx-vp9", IngestConfig(fps=10.0), "decord"),
        (".webm", "libvpx-vp9", IngestConfig(keyframes=True), "pyav"),
    ],
)
def test_the_decoder_is_pyav_where_it_leaves_frames_out(
    suffix: str, codec: str, config: IngestConfig, expected: str, tmp_path: Path
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = str(write_video(tmp_path / f"a{suffix}", codec=codec, options=options))
    index = index_packets(path)
    assert choose_decoder(probe(path).codec, 1000, chosen(config, index), index) == expected
    assert choose_decoder(probe(path).codec, 10**9, chosen(config, index), index) == "pyav"
    damaged = dataclasses.replace(index, has_damage=True)
    if codec.startswith("libx26"):  # then no frame may be left out, and decord says for itself that it declines
        assert (
            choose_decoder(
                probe(path).codec,
                1000,
                chosen(config, damaged),
                damaged,
            )
            == "decord"
        )


def test_only_the_keyframes_that_are_samples_are_decoded_unless_one_is_damaged(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", options={"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3:log-level=0"})
    reports = DecodeReport(), DecodeReport()
    quick = list(sample_frames(str(path), fps=1, keyframes=True, report=reports[0]))
    thorough = list(sample_frames(str(path), fps=1, keyframes=True, report=reports[1], thorough=True))
    assert [frame.pts_us for frame in quick] == [frame.pts_us for frame in thorough] == [0, 1_440_000, 2_400_000]
    assert all((one.rgb == other.rgb).all() for one, other in zip(quick, thorough, strict=True))
    assert (reports[0].num_frames_decoded, reports[0].num_frames_skipped, reports[1].num_frames_decoded) == (3, 4, 7)
    assert dataclasses.replace(reports[0], num_frames_decoded=7, num_frames_skipped=0) == reports[1]
    with av.open(str(path)) as container:
        place = next((packet.pos, packet.size) for packet in container.demux(video=0) if packet.is_keyframe and packet.pts)
    assert place[0] is not None
    content = bytearray(path.read_bytes())
    content[place[0] : place[0] + place[1]] = bytes(place[1])  # the second keyframe, which is no sample
    path.write_bytes(bytes(content))
    assert [frame.pts_us for frame in sample_frames(str(path), fps=1, keyframes=True)] == [0, 1_440_000, 2_400_000]


def test_a_stream_without_keyframes_is_decoded_whole(tmp_path: Path) -> None:
    index = index_packets(str(write_video(tmp_path / "a.mp4")))
    none = dataclasses.replace(index, is_key=np.zeros_like(index.is_key))
    assert keyframe_spacing_s(none) == float("inf")
    assert choose_sampling(none, fps=1.0, keyframes=True, all_frames=False) == Sampling(fps=1.0, keyframes=False)


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mp4", "libx264", {"bf": "3"}),
        (".mp4", "libx265", {"x265-params": "log-level=none"}),
        (".avi", "mpeg4", {}),
        (".webm", "libvpx-vp9", {}),
        (".mp4", "libsvtav1", {}),
        (".mpg", "mpeg2video", {}),
        (".avi", "mjpeg", {}),
    ],
)
def test_both_decoders_sample_the_same_frames_or_decord_declines(tmp_path: Path, suffix: str, codec: str, options: dict[str, str]) -> None:
    path = write_video(tmp_path / f"a{suffix}", codec=codec, options=options, gop=50)
    expected, report = read(path, 2, "pyav")
    assert [index for index, _, _ in expected] == [0, 13, 25, 38, 50, 63]
    assert [number for _, _, number in expected] == pytest.approx([0, 13, 25, 38, 50, 63], abs=1)
    assert report.problems == []
    try:
        assert read(path, 2, "decord")[0] == expected
    except DecoderDisagreement:
        assert codec in ("libsvtav1", "mjpeg", "mpeg2video")


def test_variable_frame_rate_is_sampled_in_time_and_each_frame_once(tmp_path: Path) -> None:
    pts = [0, 10, 20, 990, 1010, 1500, 4200, 4300]  # milliseconds
    path = write_video(tmp_path / "vfr.mkv", pts=pts, time_base=Fraction(1, 1000), options={"bf": "0"})
    for decoder in ("decord", "pyav"):
        samples, _ = read(path, 1, decoder)
        assert [(index, pts_us) for index, pts_us, _ in samples] == [(0, 0), (4, 1_010_000), (6, 4_200_000)]


def test_slot_allows_for_half_a_tick_of_the_container() -> None:
    milliseconds = Fraction(1, 1000)
    assert sample_slot(33, milliseconds, Fraction(30)) == 1  # 1/30 s, rounded down by the container
    assert sample_slot(32, milliseconds, Fraction(30)) == 0
    assert sample_slot(999, milliseconds, Fraction(1)) == 0
    assert sample_slot(1000, milliseconds, Fraction(1)) == 1


def test_zero_fps_gives_every_frame(h264: Path) -> None:
    for decoder in ("decord", "pyav"):
        assert [number for _, _, number in read(h264, 0, decoder)[0]] == list(range(75))


def test_index_knows_keyframes_without_decoding(h264: Path) -> None:
    index = index_packets(str(h264))
    assert len(index.pts) == 75
    assert index.is_key[0]
    assert 0 < index.is_key.sum() < 75
    assert not index.has_damage


def test_overview_frames_are_spread_and_small(h264: Path) -> None:
    frames = overview_frames(str(h264), num_frames=8, max_side=48)
    assert len(frames) >= 3
    assert all(frame.shape == (32, 48, 3) for frame in frames)
    assert len({number_of_small(frame) for frame in frames}) == len(frames)


def number_of_small(rgb: np.ndarray) -> int:
    return round((float(rgb[12:20, 12:20, 1].mean()) - 20) / 3)


def flip_bytes(path: Path, *, seed: int, num: int, keep: int) -> None:
    content = bytearray(path.read_bytes())
    media = content.find(b"mdat") + keep
    rng = np.random.default_rng(seed)
    for position in rng.integers(media, media + 4 * (len(content) - media) // 5, num):
        content[position] ^= 0xFF
    path.write_bytes(bytes(content))


def test_flipped_bits_are_seen_by_decord_and_located_by_pyav(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.mp4")
    flip_bytes(path, seed=0, num=12, keep=4000)
    with pytest.raises(DecoderDisagreement):
        read(path, 1, "decord")
    _, report = read(path, 1, "pyav")
    assert report.num_frames_corrupt > 0
    assert any("damaged" in problem for problem in report.problems)


def test_damage_ends_at_the_next_keyframe(tmp_path: Path) -> None:
    path = write_noise(tmp_path / "a.mp4")
    clean = {frame.pts_us: frame.rgb for frame in sample_frames(str(path), fps=0, decoder="pyav")}
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    start, size = packets[15]
    assert start is not None
    content[start : start + size] = bytes(size)  # not even a slice header is left of frame 15
    path.write_bytes(bytes(content))
    damaged = list(sample_frames(str(path), fps=0, decoder="pyav", report=(report := DecodeReport())))
    assert {frame.pts_us // 40_000 for frame in damaged if frame.is_corrupt} >= {16, 17, 18, 19}
    good = [frame for frame in damaged if not frame.is_corrupt]
    assert [frame.pts_us // 40_000 for frame in good] == [*range(15), *range(20, 50)]
    assert all(np.array_equal(frame.rgb, clean[frame.pts_us]) for frame in good)
    assert report.problems


def test_the_same_damage_is_seen_every_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    problems = [read(path, 1, "pyav")[1].problems for _ in range(3)]  # PyAV by itself leaves out a line that was the last one logged
    assert "File ended prematurely" in problems[0][-1]
    assert problems[0] == problems[1] == problems[2]


def write_noise(path: Path) -> Path:
    """Two seconds that compress badly, so that damage is likely to hit picture data; a keyframe every ten frames."""
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "crf": "18", "sc_threshold": "0", "keyint_min": "10"})
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        stream.codec_context.gop_size = 10
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rng.integers(0, 255, (128, 192, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_truncated_file_keeps_its_good_frames_and_says_what_is_missing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", codec="libx264")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    samples, _ = read(path, 5, "pyav")
    assert 2 <= len(samples) < 15
    assert samples[0] == (0, 0, 0)


def test_a_truncated_faststart_mp4_reports_declared_against_decoded(tmp_path: Path) -> None:
    whole = write_noise(tmp_path / "b.mp4")
    path = tmp_path / "a.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DecoderDisagreement):
        read(path, 1, "decord")
    samples, report = read(path, 1, "pyav")
    assert len(samples) == 1
    assert any("of 50 declared frames" in problem for problem in report.problems)


def text_file(path: Path) -> None:
    path.write_text("not a video\n" * 90)


def still_picture(path: Path) -> None:
    frame = av.VideoFrame.from_ndarray(moving_square(1), format="rgb24")
    frame.save(str(path))


def sound_only(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def without_its_index(path: Path) -> None:
    write_noise(path)
    path.write_bytes(path.read_bytes()[:30_000])


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("a.mp4", lambda path: path.touch(), "empty"),
        ("a.mp4", text_file, "not_a_video"),
        ("a.png", still_picture, "not_a_video"),
        ("a.mp4", sound_only, "no_video_stream"),
        ("a.mp4", without_its_index, "undecodable"),
        ("a.mp4", os.mkfifo, "not_a_file"),
        ("a.mp4", lambda path: path.symlink_to(path), "not_a_file"),
    ],
)
def test_files_that_are_no_video_say_why(tmp_path: Path, name: str, write: Callable[[Path], None], reason: str) -> None:
    write(tmp_path / name)
    with pytest.raises(UnreadableVideo) as caught:
        probe(str(tmp_path / name))
    assert caught.value.reason == reason
    assert str(caught.value)


@pytest.mark.parametrize("name", ["with space.mp4", "quote'\".mp4", "line\nbreak.mp4", "größe 内視鏡.mp4", "100%d:x.mp4"])
def test_any_file_name_works_with_both_decoders(h264: Path, name: str) -> None:
    path = h264.with_name(name)
    h264.rename(path)
    assert read(path, 1, "decord")[0] == read(path, 1, "pyav")[0]


def test_a_display_matrix_turns_the_picture(h264: Path) -> None:
    content = bytearray(h264.read_bytes())
    matrix = content.find(b"tkhd") + 4 + 40
    one, minus_one, zero, unit = (value.to_bytes(4, "big", signed=True) for value in (0x10000, -0x10000, 0, 0x40000000))
    content[matrix : matrix + 36] = zero + one + zero + minus_one + zero + zero + zero + zero + unit  # 90 degrees clockwise
    h264.write_bytes(bytes(content))
    with pytest.raises(DecoderDisagreement, match="rotated"):
        read(h264, 1, "decord")
    first = next(iter(sample_frames(str(h264), fps=1, decoder="pyav")))
    assert first.rgb.shape == (96, 64, 3)
    # the square, 16 pixels from the left and the top, is now 16 from the right and the top
    assert first.rgb[24:40, 24:40, 0].mean() < 30
    assert first.rgb[60:, :, 0].mean() > 80


@pytest.mark.real_data
@pytest.mark.skipif("ENDOFORGE_REAL_DATA" not in os.environ, reason="ENDOFORGE_REAL_DATA is not set")
def test_real_videos_decode_alike_and_only_the_damaged_are_flagged() -> None:
    for path in sorted((Path(os.environ["ENDOFORGE_REAL_DATA"]) / "videos").glob("*/*")):
        if path.parent.name == "damaged":
            continue
        expected = list(sample_frames(str(path), fps=1, decoder="pyav", report=(report := DecodeReport())))
        assert report.problems == []
        try:
            given = list(sample_frames(str(path), fps=1, decoder="decord"))
        except DecoderDisagreement:
            # of one clip the packets lie in the order of their times, though its codec may reorder: that order is PyAV's to settle
            assert path.suffix in (".mpg", ".avi") or "av1" in path.name or index_packets(str(path)).is_decoding_order
            continue
        assert [(frame.frame_index, frame.pts_us) for frame in given] == [(frame.frame_index, frame.pts_us) for frame in expected]
        for ours, theirs in zip(given, expected, strict=True):
            assert np.abs(ours.rgb.astype(int) - theirs.rgb).mean() < 2
