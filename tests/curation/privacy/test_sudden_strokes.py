"""Strokes that come from one frame to the next."""

from __future__ import annotations

import cv2

from curation.privacy import Box, stroke_blocks, sudden_parts
from curation.privacy.text_boxes import is_inside
from tests.helpers.clips import moving_picture


def test_a_line_that_comes_while_the_picture_moves_is_a_part_and_one_that_stays_is_none() -> None:
    before, now = (moving_picture(number, 384, 288) for number in (2, 3))
    assert sudden_parts(stroke_blocks(now), stroke_blocks(before)) == ()
    written = now.copy()
    cv2.putText(written, "DOE JOHN 1953", (90, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2, cv2.LINE_AA)
    (part,) = sudden_parts(stroke_blocks(written), stroke_blocks(before))
    assert is_inside(Box(94, 46, 140, 12), [part])
    assert part.area < 0.25 * 384 * 288
    assert sudden_parts(stroke_blocks(written), stroke_blocks(written)) == ()


def test_a_block_has_as_many_strokes_as_edges_of_the_rarest_kind() -> None:
    step = moving_picture(0, 64, 32) * 0
    step[:, 32:] = 200  # one edge, from dark to bright, across
    assert stroke_blocks(step).tolist() == [[0, 0], [0, 0]]
    step[8:10, 4:28:4] = 200  # dots have edges of all four kinds
    assert stroke_blocks(step)[0, 0] > 0
