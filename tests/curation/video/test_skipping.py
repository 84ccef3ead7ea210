import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_video
from curation.sources.discover import hash_video
from curation.video import DecodeReport
from curation.video.keyframes import is_entry_point
from curation.video.packet_index import PacketIndex, index_packets
from curation.video.reader import sample_frames
from curation.video.skipping import may_leave_out, share_left_out, times_of_samples, times_past_samples
from tests.helpers.clips import FORMATS, Format, moving_picture, write_clip

FILM = [moving_picture(number) for number in range(30)]  # ten a second
REFRESH = Format("mp4", "libx264", options={"x264-params": "intra-refresh=1:keyint=10:log-level=0"})


def index_of(pts: list[int], keys: list[int], entries: list[int] | None = None) -> PacketIndex:
    """Of packets in decoding order, ten ticks a second; `keys` and `entries` are positions."""
    is_key, is_entry = np.zeros(len(pts), bool), np.zeros(len(pts), bool)
    is_key[keys], is_entry[keys if entries is None else entries] = True, True
    return PacketIndex(
        time_base=Fraction(1, 10),
        pts=np.array(pts),
        is_key=is_key,
        is_entry=is_entry,
        number=np.arange(len(pts)),
        has_damage=False,
        has_hidden=False,
        has_changes=False,
        is_decoding_order=False,
        num_restarts=0,
        error=None,
        problems=(),
        notes=(),
    )


@pytest.mark.parametrize(
    ("pts", "keys", "entries", "samples", "past"),
    [
        # shown as decoded, a keyframe every four frames: after a group's last sample the rest of it, and the whole of one without any
        (range(12), [0, 4, 8], None, {0, 9}, {1, 2, 3, 4, 5, 6, 7, 10, 11}),
        # frame 2 is decoded after frame 3, from which it is predicted
        ([0, 3, 1, 2, 4, 5], [0, 4], None, {2}, {4, 5}),
        ([0, 3, 1, 2, 4, 5], [0, 4], None, {3}, {1, 2, 4, 5}),
        # an open group: frame 3 is shown before the keyframe 4 and predicted from the group before, which is decoded to its end
        ([0, 1, 2, 4, 3, 5, 6], [0, 3], None, {0, 4}, {3, 5, 6}),
        # the second keyframe is one from which a decoder only recovers
        (range(6), [0, 3], [0], {0, 3}, {4, 5}),
        (range(4), [0], None, {0, 1, 2, 3}, set()),
    ],
)
def test_of_a_group_what_follows_its_last_sample_is_past(
    pts: list[int], keys: list[int], entries: list[int] | None, samples: set[int], past: set[int]
) -> None:
    assert times_past_samples(frozenset(samples), index_of(list(pts), keys, entries)) == past


def test_the_samples_are_those_due_among_all_frames_or_among_keyframes() -> None:
    index = index_of(list(range(25)), [0, 4, 8, 12, 16, 20, 24])
    assert times_of_samples(Fraction(1), index, keyframes=False) == {0, 10, 20}
    assert times_of_samples(Fraction(1), index, keyframes=True) == {0, 12, 20}


def test_how_much_is_left_out() -> None:
    index = index_of(list(range(20)), [0, 5, 10, 15])  # samples 0 and 10: 18 of 20 follow a sample
    assert share_left_out("vp9", Fraction(1), index) == 0.9
    assert share_left_out("vp9", Fraction(10), index) == 0
    assert share_left_out("h264", Fraction(10), index) == 0.5
    assert share_left_out("mpeg2video", Fraction(1), index) == 0
    assert not may_leave_out("h264", Fraction(1), dataclasses.replace(index, has_damage=True))
    assert not may_leave_out("h264", Fraction(0), index)


def test_a_picture_from_which_a_decoder_only_recovers_is_no_entry(tmp_path: Path) -> None:
    for suffix in ("mp4", "ts"):  # units with their length, and with start codes
        index = index_packets(str(write_clip(tmp_path / f"a.{suffix}", FILM, dataclasses.replace(REFRESH, suffix=suffix))))
        assert np.flatnonzero(index.is_key).tolist() == [0, 9, 21]
        assert np.flatnonzero(index.is_entry).tolist() == [0]
        usual = index_packets(str(write_clip(tmp_path / f"b.{suffix}", FILM, FORMATS[f"h264-{suffix}"])))
        assert np.flatnonzero(usual.is_entry).tolist() == np.flatnonzero(usual.is_key).tolist() == [0, 10, 20]


def test_frames_that_are_left_out_count_as_skipped_and_not_as_decoded(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", FILM, FORMATS["h264-mp4"])  # three groups of ten frames
    counts = {}
    for thorough in (False, True):
        report = DecodeReport()
        samples = list(sample_frames(str(path), fps=1, decoder="pyav", report=report, thorough=thorough))
        assert [sample.frame_index for sample in samples] == [0, 10, 20]
        counts[thorough] = (report.num_frames_decoded, report.num_frames_skipped)
    assert counts == {False: (3, 27), True: (30, 0)}
    video = ingest_video(hash_video(str(path)), lake_root=str(tmp_path / "lake"), config=IngestConfig(decoder="pyav", fps=1)).video
    assert video is not None
    assert (video.num_frames_decoded, video.num_frames_skipped, video.num_frames_declared) == (3, 27, 30)


@pytest.mark.parametrize("fps", [1, 3])
@pytest.mark.parametrize(
    "wanted",
    [
        REFRESH,
        FORMATS["mpeg4-avi"],
        FORMATS["mjpeg-avi"],
        FORMATS["vp9-webm"],
        Format("mkv", "libx265", options={"x265-params": "interlace=tff:log-level=none"}),
        Format("avi", "mpeg4", options={"flags": "+ildct+ilme"}),
        Format("mp4", "libx264", options={"x264-params": "tff=1:log-level=0", "bf": "2"}),
    ],
)
def test_samples_are_the_same_to_the_pixel(wanted: Format, fps: int, tmp_path: Path) -> None:
    path = str(write_clip(tmp_path / f"a.{wanted.suffix}", FILM, wanted, gop=7))
    reports = DecodeReport(), DecodeReport()
    quick = list(sample_frames(path, fps=fps, decoder="pyav", report=reports[0]))
    thorough = list(sample_frames(path, fps=fps, decoder="pyav", report=reports[1], thorough=True))
    assert [(frame.frame_index, frame.pts_us) for frame in quick] == [(frame.frame_index, frame.pts_us) for frame in thorough]
    assert all((one.rgb == other.rgb).all() for one, other in zip(quick, thorough, strict=True))
    passed = [report.num_frames_decoded + report.num_frames_skipped for report in reports]
    assert passed[0] == passed[1] == reports[1].num_frames_decoded
    alike = [dataclasses.replace(report, num_frames_decoded=0, num_frames_skipped=0) for report in reports]
    assert alike[0] == alike[1]


def test_damage_where_no_sample_needs_it_is_found_when_asked_for(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", FILM, FORMATS["h264-mp4"])
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0)]
    start, size = packets[14]  # between the samples at frames 10 and 20, in the group that frame 10 begins
    assert start is not None
    content = bytearray(path.read_bytes())
    content[start + size // 2 : start + size] = b"\xff" * (size - size // 2)  # headers are read of all packets, and checked
    path.write_bytes(bytes(content))
    kept = {}
    for thorough in (False, True):
        (tmp_path / str(thorough)).mkdir()
        video = ingest_video(hash_video(str(path)), lake_root=str(tmp_path / str(thorough)), config=IngestConfig(thorough=thorough)).video
        assert video is not None
        kept[thorough] = video.status, video.num_frames_sampled
    assert kept == {False: ("ok", 3), True: ("partial", 3)}


def test_frames_are_left_out_only_between_keyframes_that_their_own_bytes_confirm(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", FILM, FORMATS["mpeg4-mp4"])
    before = index_packets(str(path))
    assert 3 <= before.is_key.sum() < 6
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))  # without that table every packet counts as a keyframe
    index = index_packets(str(path))
    assert index.is_key.all()
    assert (index.is_entry == before.is_key).all()
    quick, thorough = (list(sample_frames(str(path), fps=1.5, decoder="pyav", thorough=each)) for each in (False, True))
    assert [frame.frame_index for frame in quick] == [0, 7, 14, 20, 27]
    assert all((one.rgb == other.rgb).all() for one, other in zip(quick, thorough, strict=True))


@pytest.mark.parametrize(
    ("codec", "packet", "extradata", "is_entry"),
    [
        ("h264", b"\0\0\1\x67\xaa\0\0\1\x65\xaa", None, True),
        ("h264", b"\0\0\1\x67\xaa\0\0\1\x41\xaa", None, False),
        ("h264", b"\0\0\0\2\x67\xaa\0\0\0\2\x65\xaa", b"\1\0\0\0\xff", True),
        ("h264", b"", None, False),
        ("hevc", b"\0\0\1\x40\1\0\0\1\x26\1", None, True),  # parameters, then a picture of type 19
        ("hevc", b"\0\0\1\x02\1", None, False),
        ("mpeg4", b"\0\0\1\xb6\x10", None, True),
        ("mpeg4", b"\0\0\1\xb6\x50", None, False),
        ("vp9", b"\x82", None, True),
        ("vp9", b"\x86", None, False),
        ("vp9", b"\x8a", None, False),
        ("mjpeg", b"\xff\xd8", None, True),
    ],
)
def test_what_a_packet_says_of_itself(codec: str, packet: bytes, extradata: bytes | None, is_entry: bool) -> None:
    assert is_entry_point(codec, packet, extradata) == is_entry


def test_a_lost_packet_between_keyframes_is_noticed(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", [moving_picture(number, 320, 240) for number in range(30)], FORMATS["h264-ts"])
    content = path.read_bytes()
    packets = [content[start : start + 188] for start in range(0, len(content), 188)]
    of_video = [number for number, packet in enumerate(packets) if packet[3] & 15 and not packet[1] & 64 and packet[1] & 31]
    without = [packet for number, packet in enumerate(packets) if number != of_video[len(of_video) // 2]]
    path.write_bytes(b"".join(without))
    assert index_packets(str(path)).has_damage
    report = DecodeReport()
    assert list(sample_frames(str(path), fps=1, keyframes=True, report=report))
    assert report.problems


def test_a_video_that_turns_interlaced_is_decoded_again_with_all_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    with av.open(str(path), "w") as target:
        for number, options in enumerate(({"x264-params": "log-level=0"}, {"x264-params": "tff=1:log-level=0"})):
            part = write_clip(tmp_path / f"{number}.ts", FILM, Format("ts", "libx264", options=options), gop=10)
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                copy = target.streams.video[0] if number else target.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.pts is not None and packet.dts is not None:
                        shift = number * len(FILM) * 9000  # ten frames a second, in ticks of a transport stream
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                        target.mux(packet)
    reports = DecodeReport(), DecodeReport()
    for report, thorough in zip(reports, (False, True), strict=True):
        list(sample_frames(str(path), fps=3, decoder="pyav", report=report, thorough=thorough))
    assert [report.is_incomplete for report in reports] == [True, False]
