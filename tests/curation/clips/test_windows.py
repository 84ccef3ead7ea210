import pytest

from curation.clips import ClipConfig, Moment
from curation.clips.windows import windows_of


def moments(reasons: dict[int, str | None]) -> list[Moment]:
    return [
        Moment(pts_us=1_000_000 * second, drop_reason=reason, text_boxes=None, width=None, height=None)
        for second, reason in reasons.items()
    ]


def cut(reasons: dict[int, str | None], **settings: float) -> list[tuple[float, float]]:
    config = ClipConfig(**settings)  # type: ignore[arg-type]
    return [(window.start_us / 1e6, window.end_us / 1e6) for window in windows_of(moments(reasons), config)]


def test_footage_is_cut_into_windows_and_what_is_left_is_a_shorter_one() -> None:
    assert cut(dict.fromkeys(range(12), None)) == [(0, 5), (5, 10), (10, 12)]
    assert cut({0: None}) == [(0, 5)]
    assert cut({}) == []


def test_private_frozen_and_removed_samples_break_footage_and_poor_ones_do_not() -> None:
    assert cut({0: None, 1: "blurred", 2: "near_duplicate", 3: "too_dark", 4: None}) == [(0, 5)]
    for reason in ("out_of_body", "out_of_body_unchecked", "frozen", "corrupt", "text_unaudited", "identified_in_audit"):
        assert cut({0: None, 1: None, 2: reason, 3: None, 4: None}) == [(0, 1.000001), (3, 5)]


def test_a_limit_spreads_the_windows_over_the_video() -> None:
    assert cut(dict.fromkeys(range(50), None), clip_max_per_video=3) == [(5, 10), (20, 25), (40, 45)]
    assert len(cut(dict.fromkeys(range(50), None), clip_max_per_video=100)) == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_seconds": 0}, "clip_seconds is 0; give a length above 0"),
        ({"clip_side": 255}, "clip_side is 255; give an even number"),
        ({"clip_seconds": 0.5}, "clip_min_frames is 16, .* has 15; give no more"),
        ({"clip_crf": 60}, "clip_crf is 60; give 0 to 51"),
    ],
)
def test_settings_that_no_clip_could_satisfy_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClipConfig(**settings)  # type: ignore[arg-type]
