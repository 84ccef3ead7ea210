"""Which track of a file is read, and how its pictures are shown."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_video
from curation.sources.discover import hash_video
from curation.video import DecoderDisagreement, DecodeReport, overview_frames
from curation.video.reader import sample_frames
from curation.video.upright import upright
from tests.helpers.clips import FORMATS, Format, moving_picture, write_clip

CORNERS = np.zeros((64, 96, 3), np.uint8)
CORNERS[:32, :48], CORNERS[:32, 48:], CORNERS[32:, :48], CORNERS[32:, 48:] = 40, 100, 160, 220
"""from left to right and from top to bottom: 40, 100, 160, 220"""

MATRICES = {
    # what the corners of the shown picture are, by the a, b, c, d of ISO/IEC 14496-12, 6.2.2
    (1, 0, 0, 1): [40, 100, 160, 220],
    (-1, 0, 0, -1): [220, 160, 100, 40],
    (-1, 0, 0, 1): [100, 40, 220, 160],
    (1, 0, 0, -1): [160, 220, 40, 100],
    (0, 1, -1, 0): [160, 40, 220, 100],
    (0, -1, 1, 0): [100, 220, 40, 160],
    (0, 1, 1, 0): [40, 160, 100, 220],
    (0, -1, -1, 0): [220, 100, 160, 40],
}


def corners(rgb: np.ndarray) -> list[int]:
    height, width = rgb.shape[:2]
    found = [rgb[y * height // 4, x * width // 4, 1] for y in (1, 3) for x in (1, 3)]
    return [min((40, 100, 160, 220), key=lambda level: abs(level - int(value))) for value in found]


def with_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    write_clip(path, [CORNERS] * 10, FORMATS["h264-mp4"])
    content = bytearray(path.read_bytes())
    place = content.find(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    values = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    content[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize("matrix", MATRICES)
def test_each_of_the_eight_display_matrices_is_applied(matrix: tuple[int, int, int, int], tmp_path: Path) -> None:
    path = str(with_matrix(tmp_path / "a.mp4", matrix))
    frame = next(iter(sample_frames(path, fps=1, decoder="pyav")))
    assert corners(frame.rgb) == MATRICES[matrix]
    assert frame.rgb.shape[:2] == ((64, 96) if matrix[0] else (96, 64))
    assert corners(overview_frames(path, num_frames=1, max_side=48)[0]) == MATRICES[matrix]
    if matrix == (1, 0, 0, 1):
        assert corners(next(iter(sample_frames(path, fps=1, decoder="decord"))).rgb) == MATRICES[matrix]
    else:
        with pytest.raises(DecoderDisagreement, match="mirrored"):
            next(iter(sample_frames(path, fps=1, decoder="decord")))


def test_upright_maps_each_point_as_the_matrix_says() -> None:
    picture = np.arange(24).reshape(4, 6, 1)
    for a, b, c, d in MATRICES:
        result = upright(picture, (a, b, c, d))
        points = [(a * x + c * y, b * x + d * y, picture[y, x, 0]) for x in range(6) for y in range(4)]
        left, top = min(point[0] for point in points), min(point[1] for point in points)
        assert all(result[y - top, x - left, 0] == value for x, y, value in points)


def write_tracks(path: Path, tracks: list[tuple[int, int, int, Disposition]]) -> Path:
    """One track a (width, height, grey level, disposition)."""
    with av.open(str(path), "w") as container:
        streams = []
        for width, height, _, disposition in tracks:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt, stream.disposition = width, height, "yuv420p", disposition
            streams.append(stream)
        for _ in range(10):
            for stream, (width, height, level, _) in zip(streams, tracks, strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((height, width, 3), level, np.uint8), format="rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


NONE, DEFAULT = Disposition(0), Disposition.default


@pytest.mark.parametrize("suffix", ["mkv", "ts"])
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(DEFAULT, NONE, (48, 80)), (NONE, DEFAULT, (192, 160)), (NONE, NONE, (192, 160)), (DEFAULT, DEFAULT, (192, 160))],
)
def test_the_default_track_is_read_or_else_the_largest(
    first: Disposition, second: Disposition, expected: tuple[int, int], suffix: str, tmp_path: Path
) -> None:
    if suffix == "ts":  # which knows no default
        expected = (192, 160)
    path = str(write_tracks(tmp_path / f"a.{suffix}", [(48, 32, 80, first), (192, 128, 160, second)]))
    report = DecodeReport()
    frame = next(iter(frames := list(sample_frames(path, fps=0, decoder="pyav", report=report))))
    assert (frame.rgb.shape[1], round(float(frame.rgb.mean()) / 80) * 80) == expected
    assert len(frames) == 10
    assert any("of 2 video tracks only number" in note for note in report.notes)
    assert report.problems == []
    with pytest.raises(DecoderDisagreement):
        list(sample_frames(path, fps=1, decoder="decord"))


@pytest.mark.parametrize(("ratio", "expected"), [(Fraction(64, 45), (137, 64)), (Fraction(8, 9), (96, 72)), (Fraction(1), (96, 64))])
def test_pixels_become_square(ratio: Fraction, expected: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = ratio
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(CORNERS, format="rgb24")))
        container.mux(stream.encode(None))
    report = DecodeReport()
    frame = next(iter(list(sample_frames(str(path), fps=0, decoder="pyav", report=report))))
    assert frame.rgb.shape == (expected[1], expected[0], 3)
    assert corners(frame.rgb) == [40, 100, 160, 220]
    assert bool(report.notes) == (ratio != 1)
    if ratio != 1:
        with pytest.raises(DecoderDisagreement):
            list(sample_frames(str(path), fps=1, decoder="decord"))
    result = ingest_video(hash_video(str(path)), lake_root=str(tmp_path / "lake"), config=IngestConfig(text="off"))
    assert result.video is not None
    assert (result.video.width, result.video.height) == (96, 64)
    assert result.video.sample_aspect_ratio == pytest.approx(float(ratio))
    assert result.video.status == "ok"
    assert ("square" in (result.video.warning or "")) == (ratio != 1)


def test_each_size_of_a_video_is_cut_by_itself_and_never_squeezed(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    def framed(number: int, width: int, height: int, border: int) -> np.ndarray:
        picture = moving_picture(number, width, height)
        picture[:, :border] = picture[:, -border:] = 0
        return picture

    portrait = write_clip(tmp_path / "1.ts", [framed(n, 192, 256, 16) for n in range(40)], Format("ts", "libx264"))
    landscape = write_clip(tmp_path / "2.ts", [framed(n, 320, 192, 48) for n in range(40)], Format("ts", "libx264"))
    path = tmp_path / "a.ts"
    path.write_bytes(portrait.read_bytes() + landscape.read_bytes())
    config = IngestConfig(text="off", fps=2)
    result = ingest_video(hash_video(str(path)), lake_root=str(tmp_path / "lake"), config=config)
    assert result.video is not None
    assert "change their size 1 times (192x256, 320x192)" in str(result.video.warning)
    rows = pq.read_table(tmp_path / "lake" / str(result.frames_part)).to_pylist()
    assert [row["pts_us"] for row in rows] == [500_000 * number for number in range(16)]
    crops = [(row["crop_width"], row["crop_height"]) for row in rows]
    assert [(abs(width - 160) <= 8, height) for width, height in crops[:8]] == [(True, 256)] * 8
    assert [(abs(width - 224) <= 8, height) for width, height in crops[8:]] == [(True, 192)] * 8
