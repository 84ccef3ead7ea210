from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curation.video import UnreadableVideo, duration_s, frames_at, h264_writer, index_packets

TIMES_MS = [0, 40, 80, 500, 520, 540, 1000, 1040, 2000, 2040]
"""A variable frame rate: a pause of a second among frames of 25 a second."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Frame n is grey of value 20 n."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with h264_writer(path, (64, 48)) as write:
        for number, milliseconds in enumerate(TIMES_MS):
            write(np.full((48, 64, 3), 20 * number, np.uint8), 1000 * milliseconds)
    return str(path)


def _shown(frames: list[np.ndarray]) -> list[int]:
    return [round(float(frame.mean()) / 20) for frame in frames]


def test_the_frame_that_is_shown_at_each_time_is_given(film: str) -> None:
    seconds = [1.5, 0.0, 0.039, 0.04, 0.3, 0.53, 1.5, 2.04, 9.0, -1.0]
    found = frames_at(film, seconds)
    assert _shown([frame.rgb for frame in found]) == [7, 0, 0, 1, 2, 4, 7, 9, 9, 0]
    assert [frame.frame_index for frame in found] == [7, 0, 0, 1, 2, 4, 7, 9, 9, 0]
    assert found[0].pts_us == 1_040_000


def test_the_last_frame_counts_as_long_as_those_in_the_middle(film: str) -> None:
    assert duration_s(index_packets(film)) == pytest.approx(2.08)


def test_a_frame_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    path, rng = tmp_path / "film.mp4", np.random.default_rng(0)
    with h264_writer(path, (64, 48)) as write:
        for number in range(8):
            write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), 40_000 * number)
    whole = bytearray(path.read_bytes())
    at, size = whole.index(b"mdat"), len(whole)
    whole[at + size // 2 : at + size // 2 + 4000] = bytes(4000)
    path.write_bytes(whole)
    with pytest.raises(UnreadableVideo, match=r"damaged|do not come"):
        frames_at(str(path), [0.04 * number for number in range(8)])
