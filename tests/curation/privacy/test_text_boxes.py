import pytest
from hypothesis import given, strategies as st

from curation.privacy.text_boxes import Box, cropped_away, is_inside, is_near, overlap, padded


def test_a_box_is_padded_but_not_beyond_the_borders_at_the_left_and_the_top() -> None:
    assert padded(Box(10, 10, 50, 12)) == Box(7, 7, 56, 18)
    assert padded(Box(1, 0, 5, 5)) == Box(0, 0, 9, 8)


def test_overlap_is_the_share_of_the_smaller_box() -> None:
    assert overlap(Box(0, 0, 10, 10), Box(5, 0, 20, 10)) == 0.5
    assert overlap(Box(0, 0, 10, 10), Box(10, 0, 5, 5)) == 0
    assert is_inside(Box(2, 2, 3, 3), [Box(50, 50, 9, 9), Box(0, 0, 5, 5)])
    assert not is_inside(Box(2, 2, 4, 3), [Box(0, 0, 5, 5)])


def test_boxes_are_near_if_a_line_of_the_lower_one_does_not_fit_between_them() -> None:
    line = Box(20, 100, 80, 12)
    assert is_near(line, Box(0, 124, 200, 40))
    assert not is_near(line, Box(0, 125, 200, 40))
    assert not is_near(line, Box(113, 100, 10, 12))


@pytest.mark.parametrize(
    ("boxes", "left"),
    [
        ([], Box(0, 0, 400, 300)),
        ([Box(0, 100, 40, 20)], Box(40, 0, 360, 300)),
        ([Box(380, 10, 20, 10), Box(10, 280, 80, 12)], Box(0, 0, 380, 280)),
        ([Box(180, 140, 40, 20)], Box(0, 0, 400, 300)),
    ],
)
def test_the_cheapest_side_is_cut_off_and_the_middle_is_not(boxes: list[Box], left: Box) -> None:
    assert cropped_away((400, 300), boxes) == left


@given(
    boxes=st.lists(
        st.builds(Box, x=st.integers(0, 390), y=st.integers(0, 290), width=st.integers(1, 200), height=st.integers(1, 60)), max_size=6
    )
)
def test_cropping_leaves_most_of_the_picture_inside_it(boxes: list[Box]) -> None:
    left = cropped_away((400, 300), boxes)
    assert left.width * left.height >= 0.6 * 400 * 300
    assert left.x >= 0 <= left.y
    assert left.x + left.width <= 400
    assert left.y + left.height <= 300
