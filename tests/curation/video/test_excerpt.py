"""A piece that is copied from a video holds the same pictures as the video."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from curation.video.container import UnreadableVideo, probe
from curation.video.excerpt import cut_excerpt
from curation.video.packet_index import index_packets
from curation.video.pyav_reader import sample_with_pyav
from curation.video.sampling import DecodeReport


def film(path: Path, codec: str) -> None:
    """Six seconds at 10 a second, a keyframe each second, each frame grey by its number."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = 10
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def greys(path: Path) -> list[float]:
    frames = sample_with_pyav(str(path), Fraction(0), DecodeReport(), index_packets(str(path)))
    return [float(frame.rgb.mean()) for frame in frames]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("a.avi", "mpeg4"), ("a.mkv", "mpeg4"), ("a.avi", "mjpeg"), ("a.mpg", "mpeg2video")]
)
def test_a_piece_begins_at_a_keyframe_and_has_the_videos_pictures(name: str, codec: str, tmp_path: Path) -> None:
    film(tmp_path / name, codec)
    seconds = cut_excerpt(str(tmp_path / name), tmp_path / "piece.mkv", start_s=2.5, length_s=2.0)
    assert seconds == pytest.approx(2.1, abs=0.25)
    whole, piece = greys(tmp_path / name), greys(tmp_path / "piece.mkv")
    assert probe(str(tmp_path / "piece.mkv")).codec == codec
    assert 18 <= len(piece) <= 22
    start = int(np.argmin(np.abs(np.array(whole) - piece[0])))
    assert 18 <= start <= 32  # in a program stream, which has no index, a seek may land behind
    np.testing.assert_allclose(piece, whole[start : start + len(piece)], atol=1.0)


def test_what_is_no_video_gives_no_piece(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UnreadableVideo):
        cut_excerpt(str(tmp_path / "a.mp4"), tmp_path / "piece.mkv", start_s=0.0, length_s=1.0)
