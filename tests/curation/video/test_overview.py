"""Pictures spread over a video: none that is torn."""

from pathlib import Path

import av
import numpy as np

from curation.video.overview import overview_frames
from tests.helpers.clips import FORMATS, moving_picture, write_clip

FILM = [moving_picture(number) for number in range(16)]


def test_a_torn_motion_jpeg_frame_is_no_picture_of_its_video(tmp_path: Path) -> None:
    """What the decoder could not read is whatever its memory held: what is constant in a video would depend on what was read before."""
    path = write_clip(tmp_path / "film.avi", FILM, FORMATS["mjpeg-avi"])
    whole = overview_frames(str(path), num_frames=8, max_side=800)
    with av.open(str(path)) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in places[5::8]:
        middle = position + 8 + 2 * size // 3
        data[middle : middle + 60] = b"\x55" * 60  # in these pictures, more coefficients than a block has
    path.write_bytes(bytes(data))
    pictures = overview_frames(str(path), num_frames=8, max_side=800)
    assert 3 <= len(pictures) < len(whole)
    assert all(any(np.array_equal(picture, sound) for sound in whole) for picture in pictures)
