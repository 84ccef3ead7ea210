"""Panels of losses: where each line lies, and what it says."""

import math

from evaluation.report.loss_charts import LossCurve, losses_figure

DINO = LossCurve(
    name="DINO <b>",
    points=((0, 5.1), (10, 4.6), (20, math.nan)),
    level=math.log(128),
    level_name="ln K: guesses",
    reference=((0, 4.9, 5.3), (20, 3.9, 4.1)),
)
KOLEO = LossCurve(name="KoLeo", points=((0, math.nan), (10, 0.25)))


def test_each_loss_has_its_start_and_its_level_of_knowing_nothing() -> None:
    figure = losses_figure([DINO, KOLEO])
    lines = [(shape["yref"], round(shape["y0"], 3), shape["line"]["dash"]) for shape in figure["layout"]["shapes"]]
    assert lines == [("y", 5.1, "dot"), ("y", 4.852, "dash"), ("y2", 0.25, "dot")]
    said = [note["text"] for note in figure["layout"]["annotations"]]
    assert said == ["<b>DINO &lt;b&gt;</b>", "start 5.100", "ln K: guesses 4.852", "<b>KoLeo</b>", "start 0.250"]


def test_the_range_of_the_reference_is_drawn_under_the_curve_and_a_gap_stays_a_gap() -> None:
    upper, lower, curve, other = losses_figure([DINO, KOLEO])["data"]
    assert (upper["y"], lower["y"], lower["fill"]) == ([5.3, 4.1], [4.9, 3.9], "tonexty")
    assert (curve["x"], curve["y"], curve["yaxis"]) == ([0, 10, 20], [5.1, 4.6, None], "y")
    assert (other["y"], other["yaxis"]) == ([None, 0.25], "y2")


def test_panels_do_not_overlap() -> None:
    for number in range(1, 6):
        layout = losses_figure([KOLEO] * number)["layout"]
        panels = [(layout[f"xaxis{n}"]["domain"], layout[f"yaxis{n}"]["domain"]) for n in ["", *range(2, number + 1)]]
        for i, ((left, right), (low, high)) in enumerate(panels):
            assert 0 <= left < right <= 1.001
            assert 0 <= low < high <= 1
            for (other_left, other_right), (other_low, other_high) in panels[:i]:
                assert right < other_left or other_right < left or high < other_low or other_high < low
