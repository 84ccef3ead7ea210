import numpy as np
import pytest
from hypothesis import given, strategies as st

from curation.video import decode_clip, encode_clip, nearest_frames
from tests.helpers.clip_shards import moving_clip


def test_a_constant_rate_shows_the_nearest_frame_in_time() -> None:
    at_25 = [40_000 * number for number in range(125)]
    shown = nearest_frames(at_25, fps=30, most=150)
    assert (len(shown), shown[:13].tolist(), shown[-1]) == (150, [0, 1, 2, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10], 124)
    assert nearest_frames(at_25, fps=30, most=20).tolist() == shown[:20].tolist()
    assert nearest_frames([0, 200_000, 400_000], fps=10, most=150).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest_frames([7], fps=30, most=150).tolist() == [0]


@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=40), st.sampled_from([5.0, 25.0, 30.0, 29.97]))
def test_no_other_frame_of_a_variable_rate_is_nearer(gaps: list[int], fps: float) -> None:
    times = np.cumsum([12_345, *gaps])
    shown = nearest_frames(times.tolist(), fps=fps, most=1000)
    assert (np.diff(shown) >= 0).all()
    for moment, position in enumerate(shown):
        distances = np.abs(times - times[0] - round(moment * 1e6 / fps))
        assert distances[position] == distances.min()


def test_a_clip_decodes_to_its_frames_and_odd_sides_are_refused() -> None:
    frames = moving_clip(1, num_frames=20, size=(64, 48))
    content = encode_clip(frames, size=(64, 48), fps=30, crf=18)
    last, first = decode_clip(content, [19, 0])
    assert np.abs(last.astype(int) - frames[19]).mean() < 4
    assert np.abs(first.astype(int) - frames[0]).mean() < 4
    with pytest.raises(ValueError, match=r"size is \(63, 48\), and H.264 wants even sides"):
        encode_clip(frames, size=(63, 48), fps=30, crf=18)
    with pytest.raises(ValueError, match="frame 0 is 64x48, expected 32x48"):
        encode_clip(frames, size=(32, 48), fps=30, crf=18)
    with pytest.raises(ValueError, match="the clip has no frame 20; it is cut short"):
        decode_clip(content, [20])
    with pytest.raises(ValueError, match="5 bytes were given as a clip and cannot be decoded"):
        decode_clip(b"no mp4"[:5], [0])
