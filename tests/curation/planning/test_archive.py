"""What an archive is estimated to hold and to take, from headers and pieces that are given."""

import math
from pathlib import Path

import pytest

from curation.ingest import IngestConfig
from curation.planning.archive import archive_of
from curation.planning.estimate import Estimate, combined, ratio_of_sample, total_of_sample
from curation.planning.headers import Header, Headers, read_headers
from curation.planning.pieces import Piece
from warehouse.records import VideoRef


def video(number: int, num_bytes: int) -> VideoRef:
    return VideoRef(video_id="", path=f"/archive/{number}.mp4", num_bytes=num_bytes)


def header(number: int, seconds: float, *, num_bytes: int = 1_000_000, pixels: int = 1280 * 720) -> Header:
    return Header(video=video(number, num_bytes), duration_s=seconds, fps=25.0, pixels=pixels, codec="h264")


def piece(of: Header, length_s: float, core_s: float, *, kept: float = 0.8) -> Piece:
    sampled = round(length_s)
    return Piece(
        header=of,
        length_s=length_s,
        core_s=core_s,
        num_sampled=sampled,
        num_kept=round(kept * sampled),
        kept_bytes=round(kept * sampled) * 30_000,
        stored_bytes=sampled * 40_000,
        is_whole=False,
    )


def test_all_that_is_known_is_added_up_and_is_sure() -> None:
    found = [header(number, seconds) for number, seconds in enumerate((600, 1200, 1800))]
    told = archive_of(
        [each.video for each in found], IngestConfig(), Headers(found=tuple(found), unreadable=(), num_undated=0), [], hash_s=0.0
    )
    assert told.seconds == Estimate(value=3600.0, factor=1.0, source="3 headers")
    assert told.sampled.value == 3600.0
    assert told.core_s.value == pytest.approx(3600 * 0.063 * (1280 * 720) / (1280 * 1024))
    assert told.core_s.factor == pytest.approx(3.0)


def test_pieces_tell_the_cost_of_a_video_and_of_its_seconds() -> None:
    """Each video costs 2 s of a core and each of its seconds 0.05: 1,000 videos of half an hour take 92,000 s of a core."""
    found = [header(number, 1800.0) for number in range(4)]
    pieces = [piece(each, length, 2 + 0.05 * length) for each in found for length in (15.0, 75.0)]
    videos = [video(number, 1_000_000) for number in range(1000)]
    told = archive_of(videos, IngestConfig(), Headers(found=tuple(found), unreadable=(), num_undated=0), pieces, hash_s=1e-9)
    assert told.seconds.value == pytest.approx(1_800_000)
    assert told.core_s.value == pytest.approx(1000 * 2 + 1_800_000 * 0.05 + 1.0)
    assert told.core_s.factor == pytest.approx(1.25)
    assert told.kept.value == pytest.approx(0.8 * 1_800_000)
    assert (told.jpeg_bytes, told.stored_bytes, told.num_timed) == (30_000, 40_000, 4)


def test_kinds_that_were_not_timed_cost_by_their_pixels() -> None:
    small, large = header(0, 1000.0, pixels=100), header(1, 1000.0, pixels=400)
    found = Headers(found=(small, large), unreadable=(), num_undated=0)
    told = archive_of([small.video, large.video], IngestConfig(), found, [piece(small, 50.0, 5.0)], hash_s=0.0)
    assert told.core_s.value == pytest.approx(1000 * 0.1 + 1000 * 0.4)


def test_files_that_cannot_be_read_have_no_hours() -> None:
    found = Headers(found=tuple(header(number, 100.0) for number in range(8)), unreadable=("empty", "empty"), num_undated=0)
    told = archive_of([video(number, 1_000_000) for number in range(100)], IngestConfig(), found, [], hash_s=0.0)
    assert told.seconds.value == pytest.approx(100 * 80)
    assert told.seconds.factor > 1.2
    assert told.num_unreadable == 2


def test_a_sample_is_scaled_by_what_varies_less() -> None:
    by_size = total_of_sample([10, 20, 30], [100, 200, 300], count=30, total_size=6000)
    assert by_size.value == pytest.approx(600.0)
    assert by_size.factor == pytest.approx(1.0)
    by_mean = total_of_sample([20, 20, 20], [100, 200, 300], count=30, total_size=6000)
    assert by_mean.value == pytest.approx(600.0)
    assert by_mean.factor == pytest.approx(1.0)
    assert total_of_sample([20.0], [100], count=30, total_size=6000) == Estimate(value=600.0, factor=3.0)


def test_factors_combine_like_independent_errors() -> None:
    assert combined(1.0, 2.0) == pytest.approx(2.0)
    assert combined(2.0, 2.0) == pytest.approx(math.exp(math.sqrt(2) * math.log(2)))
    assert ratio_of_sample([1.0], [2.0], least_factor=1.1) == Estimate(value=0.5, factor=3.0)
    assert Estimate(value=6.0, factor=2.0).low == 3.0


def test_headers_are_read_once_and_objects_in_stores_are_not(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    local, remote = (
        VideoRef(video_id="", path=str(tmp_path / "empty.mp4"), num_bytes=0),
        VideoRef(video_id="", path="s3://b/a.mp4", num_bytes=9),
    )
    read = read_headers([local, remote], most=10, deadline=0.0)
    assert (read.found, read.unreadable, read.num_read) == ((), ("empty",), 1)
